"""Answers in the database, as ingest would have put them there."""

import json
from datetime import UTC, datetime
from typing import Any

from serving.ids import begun_at
from serving.journal.records import Begin, Feedback
from serving.journal.rows import Rows, begin_row, end_row, feedback_row
from serving.journal.upsert import write_rows
from serving.store.database import Database
from serving.store.partitions import ensure_partitions
from tests.journal import make_begin, make_end, make_feedback


async def answer_chats(
    database: Database, alias_id: int, num: int, *, answer: str = "billing", **changes: Any
) -> list[Begin]:
    """Have an alias answer so many chats; return how each began, oldest first."""
    begins = [make_begin(f"question {i}", alias_id=alias_id, **changes) for i in range(num)]
    body = {"choices": [{"message": {"role": "assistant", "content": answer}}]}
    rows = Rows(begins=[begin_row(begin, "worker") for begin in begins])
    rows.ends = {
        begin.id: end_row(make_end(begin, response=json.dumps(body).encode())) for begin in begins
    }
    await ensure_partitions(database, {begun_at(begin.id).date() for begin in begins})
    async with database.session() as session:
        await write_rows(session, rows)
    return sorted(begins, key=lambda begin: begin.id)


async def say(database: Database, begin: Begin, **changes: Any) -> Feedback:
    """Have a user say something of an answer."""
    now = round(datetime.now(UTC).timestamp() * 1000)
    given = make_feedback(begin, **({"given_at_ms": now} | changes))
    async with database.session() as session:
        await write_rows(session, Rows(feedback=[feedback_row(given)]))
    return given
