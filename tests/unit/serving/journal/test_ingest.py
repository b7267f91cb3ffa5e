"""Ingest on real PostgreSQL: what was appended is in the database once, whatever came between."""

import json
import shutil
from pathlib import Path

import pytest
from sqlmodel import select

from serving.errors import NotFoundError
from serving.ids import Signer
from serving.journal.frames import pack
from serving.journal.ingest import ingest
from serving.journal.records import MAGIC, Begin, End, Feedback, Record
from serving.journal.segments import hold
from serving.journal.writer import JournalWriter
from serving.settings import JournalSettings
from serving.store import tables
from serving.store.database import Database
from serving.types import Arm, InferenceStatus, Rating

SIGNER = Signer({1: b"k" * 32})
SMALL = JournalSettings(segment_bytes=4096)


def make_begin(text: str = "hello", **changes: object) -> Begin:
    values: dict[str, object] = {
        "id": SIGNER.mint("default"),
        "tenant": "default",
        "key_id": "key",
        "endpoint": "/v1/chat/completions",
        "model": "support",
        "pool": "default",
        "arm": Arm.CHAMPION,
        "propensity": 1.0,
        "is_streamed": False,
        "is_trainable": True,
        "request": json.dumps({"messages": [{"role": "user", "content": text}]}).encode(),
    }
    return Begin(**(values | changes))


def make_end(begin: Begin, **changes: object) -> End:
    values: dict[str, object] = {
        "id": begin.id,
        "status": InferenceStatus.OK,
        "end_to_end_ms": 12.5,
        "http_status": 200,
        "replica": "http://127.0.0.1:8100",
        "response": b'{"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 5}}',
    }
    return End(**(values | changes))


async def all_inferences(database: Database) -> dict[str, tables.Inference]:
    async with database.session() as session:
        rows = (await session.exec(select(tables.Inference))).all()
    assert len({row.id for row in rows}) == len(rows)
    return {row.id: row for row in rows}


async def test_a_request_becomes_a_row(database: Database, tmp_path: Path) -> None:
    """Begin and end of a request are one row, with bodies, tokens and times."""
    writer = JournalWriter(tmp_path, SMALL, "w-1")
    begin = make_begin()
    writer.append(begin)
    writer.append(make_end(begin))
    report = await ingest(database, tmp_path)
    writer.close()
    assert (report.num_records, report.num_inferences, report.num_lag_bytes) == (2, 1, 0)
    row = (await all_inferences(database))[begin.id]
    assert row.status is InferenceStatus.OK
    assert row.request["messages"][0]["content"] == "hello"
    assert (row.prompt_tokens, row.completion_tokens) == (3, 5)
    assert row.worker_id == "w-1"
