"""kill -9 at any moment: whatever `append` returned for is in the database, exactly once."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import IO

import pytest

from serving.journal.ingest import IngestReport, ingest
from serving.journal.segments import list_segments
from serving.store.database import Database
from serving.types import InferenceStatus
from tests.journal import let_a_minute_pass, read_feedback, read_inferences
from tests.scale import Scale

ROOT = Path(__file__).parents[2]


@contextmanager
def child(out: IO[bytes], *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a child that is dead at the end of the block, by SIGKILL if it must be."""
    command = [sys.executable, "-m", "tests.faults.journal_child", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=out) as process:
        try:
            yield process
        finally:
            process.kill()  # or the wait at the end of `with` would last for ever


def kill_a_writer(folder: Path, worker_id: str, after_seconds: float) -> dict[str, set[str]]:
    """Let a worker write for a while, kill it, and return what it had acknowledged."""
    said_by = folder.parent / f"{worker_id}.out"
    with said_by.open("wb") as out, child(out, "write", str(folder), worker_id):
        wait_for_line(said_by)
        sleep(after_seconds)
    said: dict[str, set[str]] = {"begun": set(), "ended": set(), "rated": set()}
    for line in said_by.read_text().splitlines():
        word, name = line.split()
        said[word].add(name)
    return said


def wait_for_line(path: Path) -> None:
    """Wait until a child has said something."""
    deadline = monotonic() + 300
    while not path.stat().st_size:
        assert monotonic() < deadline, "the child said nothing"
        sleep(0.005)


def kill_ingests(folder: Path, url: str, seed: int) -> int:
    """Start ingest again and again, each time killed, until there is nothing left; count kills."""
    said_by = folder.parent / "ingest.out"
    for num_kills in range(100):
        with said_by.open("wb") as out, child(out, "ingest", str(folder), url) as process:
            wait_for_line(said_by)
            try:
                # Longer every time, so that the slowest machine comes to an end.
                process.wait(0.2 * 2**num_kills * (0.5 + spread(seed + num_kills)))
            except subprocess.TimeoutExpired:
                continue
            assert process.returncode == 0
            return num_kills
    pytest.fail("ingest makes no progress between kills")


def spread(number: int) -> float:
    """Return a point of [0, 1); successive numbers cover it evenly (golden ratio)."""
    return number * 0.6180339887498949 % 1


async def check(database: Database, said: dict[str, set[str]], num_kills: int = 1) -> None:
    """Compare the database with what was acknowledged by writers that were killed."""
    rows = await read_inferences(database)
    ended = {name for name, row in rows.items() if row.status is InferenceStatus.OK}
    interrupted = {name for name, row in rows.items() if row.status is InferenceStatus.INTERRUPTED}
    assert said["begun"] <= rows.keys()
    assert said["ended"] <= ended
    assert ended | interrupted == rows.keys()
    # A kill between a record and its acknowledgement leaves one more than was said.
    assert len(rows) - len(said["begun"]) <= num_kills
    assert len(ended) - len(said["ended"]) <= num_kills
    rated = [row.id for row in await read_feedback(database)]
    assert len(rated) == len(set(rated))
    assert said["rated"] <= set(rated)


@pytest.mark.timeout(3600)
async def test_killed_workers_lose_nothing(
    database: Database, tmp_path: Path, scale: Scale
) -> None:
    """Acknowledged is stored once; begun and never ended is `interrupted`."""
    folder = tmp_path / "journal"
    said: dict[str, set[str]] = {"begun": set(), "ended": set(), "rated": set()}
    num_kills = scale.count(3, full=50)
    for number in range(num_kills):
        killed = kill_a_writer(folder, f"w-{number}", 0.3 * spread(number))
        said = {word: names | killed[word] for word, names in said.items()}
        let_a_minute_pass(folder)
        report: IngestReport = await ingest(database, folder)
        assert report.num_rejected == report.num_damaged == report.num_unmatched == 0
        assert list_segments(folder) == []
    await check(database, said, num_kills)
    scale.record(
        "journal_killed",
        kills=num_kills,
        acknowledged=sum(len(names) for names in said.values()),
        lost=0,
        duplicated=0,
    )


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.prove) for seed in range(1, 20))]
)
async def test_a_killed_ingest_repeats_nothing(
    database: Database, tmp_path: Path, seed: int
) -> None:
    """Killed between batches, between commit and removal, wherever: each row is there once."""
    folder = tmp_path / "journal"
    said = kill_a_writer(folder, "w-1", 0.1)
    num_kills = kill_ingests(folder, database.url, seed)
    assert num_kills > 0
    let_a_minute_pass(folder)
    await ingest(database, folder)
    assert list_segments(folder) == []
    await check(database, said)
