"""What the journal's fault tests kill: a worker that writes for ever, and an ingest.

python -m tests.faults.journal_child write FOLDER WORKER_ID
python -m tests.faults.journal_child ingest FOLDER DATABASE_URL
"""

import asyncio
import os
import sys
from pathlib import Path
from uuid import uuid4

from sqlmodel import select

from serving.journal import ingest as passes
from serving.journal.writer import JournalWriter
from serving.sections import JournalSettings
from serving.store.database import Database
from tests.journal import make_begin, make_end, make_feedback


def write(folder: Path, worker_id: str) -> None:
    """Append without end; say what was appended only after `append` has returned."""
    writer = JournalWriter(folder, JournalSettings(segment_bytes=2**16), worker_id)
    for number in range(sys.maxsize):
        begin = make_begin("x" * (number * 37 % 5000))
        writer.append(begin)
        say(f"begun {begin.id}")
        if number % 3:
            writer.append(make_end(begin))
            say(f"ended {begin.id}")
        if number % 5 == 0:
            rating = make_feedback(begin, id=uuid4().hex)
            writer.append(rating)
            say(f"rated {rating.id}")


async def ingest(folder: Path, url: str) -> None:
    """Make one pass in small batches, so that there are many moments to be killed between."""
    passes._BATCH_BYTES = 2**13
    database = Database.connect(url)
    async with database.session() as session:
        await session.exec(select(1))
    say("ready")
    await passes.ingest(database, folder)
    await database.close()


def say(line: str) -> None:
    """Print in one system call: a line is out whole, or not at all."""
    os.write(sys.stdout.fileno(), f"{line}\n".encode())


if __name__ == "__main__":
    command, folder, argument = sys.argv[1:]
    if command == "write":
        write(Path(folder), argument)
    else:
        asyncio.run(ingest(Path(folder), argument))
