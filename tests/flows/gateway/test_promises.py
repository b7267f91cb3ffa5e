"""What is promised within a second, measured: who hangs up stops the engine, a revoked key is refused.

Other tests hold that both happen at all, on machines however busy; these, on a quiet one, how soon.
"""

import asyncio
import time
from collections import Counter
from itertools import product
from pathlib import Path

import aiohttp
import pytest

from serving.journal.records import End
from serving.journal.segments import list_segments
from serving.settings import Settings
from serving.store.database import Database
from serving.store.keys import create_key, revoke_key
from serving.types import InferenceStatus, Role
from tests.gateway import (
    MESSAGES,
    chat_bytes,
    make_key,
    make_settings,
    read_journal,
    records_of,
    until,
)
from tests.ports import free_port
from tests.scale import Scale
from tests.serving import served
from tests.upstream_server import Answer, FakeEngine, Fault, Received

pytestmark = [pytest.mark.prove, pytest.mark.timeout(600)]

PROMISED_SECONDS = 1.0
NUM_CROWDS = 20
WAYS = list(product((True, False), ("early", "late"), (True, False))) * 4
"""How the clients of a crowd leave: streamed or not; before or after the answer's first bytes; by
closing or by a reset."""
NUM_REVOCATIONS = 20
NUM_WORKERS = 2
WATCHED_SECONDS = 1.5
AT_ONCE = 16


async def test_an_engine_hears_within_a_second_that_its_client_has_gone(
    tmp_path: Path, engine: FakeEngine, database: Database, scale: Scale
) -> None:
    """However the client leaves, and when many do at once; each is recorded as such."""
    engine.script = stall
    settings = make_settings(tmp_path, engine, port=free_port())
    key = await make_key(database)
    async with served(settings, database.url, key):
        waits = [await leave_together(settings, engine, key) for _ in range(NUM_CROWDS)]
        num_clients = NUM_CROWDS * len(WAYS)
        await until(lambda: len(ended(settings)) == num_clients)
    assert Counter(ended(settings)) == {InferenceStatus.CLIENT_ABORTED: num_clients}
    assert max(waits) <= PROMISED_SECONDS
    scale.record(
        "client_gone",
        clients=num_clients,
        at_once=len(WAYS),
        worst_ms=round(max(waits) * 1000),
    )


def stall(received: Received) -> Answer:
    """Say nothing at all, or something first, if `user` is late."""
    if received.json["user"] == "early":
        return Answer(before_head=Fault.STALL)
    kind = "text/event-stream" if received.json["stream"] else "application/json"
    return Answer(headers={"content-type": kind}, pieces=[b"data: {}\n\n", Fault.STALL])


async def leave_together(settings: Settings, engine: FakeEngine, key: str) -> float:
    """Have a crowd ask and leave; return seconds until the engine has lost the last of them."""
    num_calls, num_hung_up = len(engine.calls), engine.num_hung_up
    writers = []
    for is_streamed, user, _ in WAYS:
        _, writer = await asyncio.open_connection("127.0.0.1", settings.gateway.port)
        writer.write(chat_bytes(key, stream=is_streamed, user=user))
        writers.append(writer)
    await until(lambda: len(engine.calls) == num_calls + len(WAYS))
    await asyncio.sleep(0.1)  # for the first bytes
    assert engine.num_hung_up == num_hung_up
    left_at = time.monotonic()
    for writer, (_, _, is_rude) in zip(writers, WAYS, strict=True):
        if is_rude:
            writer.transport.abort()
        else:
            writer.close()
    await until(lambda: engine.num_hung_up == num_hung_up + len(WAYS))
    return time.monotonic() - left_at


async def test_every_worker_refuses_a_revoked_key_within_a_second(
    tmp_path: Path, engine: FakeEngine, database: Database, scale: Scale
) -> None:
    """Counted from the revocation to the last answer that the key got, while it never stops asking."""
    settings = make_settings(tmp_path, engine, port=free_port(), workers=NUM_WORKERS)
    async with served(settings, database.url, "") as gateway:
        waits = [
            await revoke_in_use(settings, database, gateway.session) for _ in range(NUM_REVOCATIONS)
        ]
    assert max(waits) <= PROMISED_SECONDS
    scale.record(
        "key_revoked",
        revocations=NUM_REVOCATIONS,
        workers=NUM_WORKERS,
        worst_ms=round(max(waits) * 1000),
    )


async def revoke_in_use(
    settings: Settings, database: Database, session: aiohttp.ClientSession
) -> float:
    """Revoke a key that every worker knows; return for how many seconds some worker still took it."""
    async with database.session() as rows:
        key, text = await create_key(rows, role=Role.APP, tenant="default", name="web")
    before = answered(settings)
    statuses: set[int] = set()
    while statuses != {200} or len(answered(settings) - before) < NUM_WORKERS:
        statuses = {status for status, _ in await ask_at_once(session, text)}
    async with database.session() as rows:
        await revoke_key(rows, key.id)
    revoked_at = last_taken_at = time.monotonic()
    while time.monotonic() < revoked_at + WATCHED_SECONDS:
        answers = await ask_at_once(session, text)
        last_taken_at = max([last_taken_at, *(at for status, at in answers if status == 200)])
        statuses = {status for status, _ in answers}
    assert statuses == {401}
    return last_taken_at - revoked_at


async def ask_at_once(session: aiohttp.ClientSession, key: str) -> list[tuple[int, float]]:
    """Ask several times at once, each on a connection of its own; return statuses, and when."""

    async def ask() -> tuple[int, float]:
        body = {"model": "base", "messages": MESSAGES}
        headers = {"Authorization": f"Bearer {key}"}
        async with session.post("/v1/chat/completions", json=body, headers=headers) as response:
            await response.read()
            return response.status, time.monotonic()

    return await asyncio.gather(*(ask() for _ in range(AT_ONCE)))


def answered(settings: Settings) -> Counter[str]:
    """Return how many records each worker has written."""
    segments = list_segments(settings.journal_dir)
    return Counter(segment.worker_id for segment in segments for _ in records_of(segment))


def ended(settings: Settings) -> list[InferenceStatus]:
    """Return how requests ended."""
    return [record.status for record in read_journal(settings) if isinstance(record, End)]
