"""Records for the journal's tests, and what the database holds of them."""

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlmodel import select

from serving.ids import Signer
from serving.journal.frames import pack
from serving.journal.records import MAGIC, Begin, End, Feedback
from serving.journal.segments import list_segments
from serving.store import tables
from serving.store.database import Database
from serving.types import Arm, InferenceStatus, Rating

_SIGNER = Signer({1: b"k" * 32})
ANSWER = b'{"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 5}}'


def let_a_minute_pass(folder: Path) -> None:
    """Make segments so old that half a record at the end of one is not a copy on its way."""
    for segment in list_segments(folder):
        os.utime(segment.path, (0, 0))


def id_at(at: datetime) -> str:
    """Return the id of an inference that was begun at a time."""
    return _SIGNER.mint_at(round(at.timestamp() * 1000), "default")


def make_begin(text: str = "hello", **changes: Any) -> Begin:
    """Return the begin of a fresh request."""
    values: dict[str, Any] = {
        "id": _SIGNER.mint("default"),
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


def make_end(begin: Begin, **changes: Any) -> End:
    """Return the end of that request: answered well."""
    values: dict[str, Any] = {
        "id": begin.id,
        "status": InferenceStatus.OK,
        "end_to_end_ms": 12.5,
        "http_status": 200,
        "replica": "http://127.0.0.1:8100",
        "response": ANSWER,
    }
    return End(**(values | changes))


def make_feedback(begin: Begin, **changes: Any) -> Feedback:
    """Return a thumb up for that request."""
    values: dict[str, Any] = {
        "id": "f" * 32,
        "inference_id": begin.id,
        "given_at_ms": 1_790_000_000_123,
        "tenant": "default",
        "rater": "ada",
        "rating": Rating.UP,
    }
    return Feedback(**(values | changes))


async def read_inferences(database: Database) -> dict[str, tables.Inference]:
    """Return every inference by its id; fail if one is there twice."""
    async with database.session() as session:
        rows = (await session.exec(select(tables.Inference))).all()
    found = {row.id: row for row in rows}
    assert len(found) == len(rows)
    return found


async def read_feedback(database: Database) -> list[tables.Feedback]:
    """Return every rating, oldest first."""
    query = select(tables.Feedback).order_by("given_at")
    async with database.session() as session:
        return list((await session.exec(query)).all())


async def read_segments(database: Database) -> dict[str, tables.Segment]:
    """Return what is known of every segment, by its name."""
    async with database.session() as session:
        rows = (await session.exec(select(tables.Segment))).all()
    return {row.name: row for row in rows}


def write_segment(folder: Path, name: str, *payloads: bytes, tail: bytes = b"") -> Path:
    """Write a segment as a worker would that is gone now."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(MAGIC + b"".join(pack(payload) for payload in payloads) + tail)
    return path
