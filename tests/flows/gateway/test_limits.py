"""Limits on real sockets: what a client that has used its quota is told, and what it costs others."""

import asyncio
import itertools
import time
from collections import Counter
from pathlib import Path

import aiohttp

from serving.routing.catalog import Exceptions, Quota
from serving.settings import Settings
from serving.store.access import Usage
from serving.store.aliases import find_alias, id_of, set_alias
from serving.store.database import Database
from serving.store.keys import create_key, list_keys, revoke_key, set_key
from serving.store.tables import utc_now
from serving.store.usage import first_day
from serving.types import Role
from tests.gateway import (
    MESSAGES,
    Gateway,
    make_alias,
    make_key,
    make_limited,
    make_settings,
    until,
    who_answered,
)
from tests.ports import free_port
from tests.serving import served
from tests.upstream_server import FakeEngine, answer_when


async def test_a_key_out_of_requests_is_told_when_to_come_back(
    gateway: Gateway, database: Database, engine: FakeEngine
) -> None:
    """429 in OpenAI's shape with Retry-After; the engine does not hear of it, nor the journal."""
    await make_limited(gateway, database, rpm=2)
    for left in ("1", "0"):
        answered = await gateway.chat()
        assert answered.status == 200
        assert answered.headers["x-ratelimit-limit-requests"] == "2"
        assert answered.headers["x-ratelimit-remaining-requests"] == left
    refused = await gateway.chat()
    assert refused.status == 429
    assert refused.error == {
        "message": refused.error["message"],
        "type": "rate_limit_error",
        "param": None,
        "code": "rate_limit_exceeded",
    }
    assert "2 requests a minute" in refused.error["message"]
    assert 1 <= int(refused.headers["retry-after"]) <= 30
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert refused.headers["x-ratelimit-reset-requests"].endswith("ms")
    assert len(engine.calls) == len(await gateway.ended(2)) == 2
    assert 'strop_errors_total{code="rate_limit_exceeded"} 1.0' in (
        gateway.runtime.metrics.render().decode()
    )
    # Nobody looks at what it asks for.
    assert (await gateway.post("/v1/chat/completions", b"{")).status == 429


async def test_a_budget_used_up_is_insufficient_quota(
    gateway: Gateway, database: Database, settings: Settings
) -> None:
    """Of the key, or of the alias for everybody; counted in the database, or seen here."""
    await make_alias(database, settings, "support")
    await make_limited(gateway, database, budget=10)
    assert (await gateway.chat(model="support")).status == 200
    refused = await gateway.chat(model="support")
    assert (refused.status, refused.error["code"]) == (429, "insufficient_quota")
    assert refused.error["type"] == "insufficient_quota"
    assert int(refused.headers["retry-after"]) >= 1
    async with database.session() as session:
        alias = await find_alias(session, "support", "default")
        await set_alias(session, alias, budget=1000)
        month, alias_id = first_day(utc_now()), id_of(alias)
        session.add(
            Usage(month=month, key_id="other", alias_id=alias_id, pool="default", tokens=1000)
        )
    gateway.key = await make_key(database)
    await until(lambda: gateway.runtime.catalog.principal_of(gateway.key) is not None)
    refused = await gateway.chat(model="support")
    assert (refused.status, refused.error["code"]) == (429, "insufficient_quota")
    assert "'support'" in refused.error["message"]


async def test_a_key_has_so_many_schemas(
    gateway: Gateway, database: Database, engine: FakeEngine
) -> None:
    """A new one is 429 with Retry-After and no request of the minute; all others go on."""
    fields = Exceptions(most={"schemas": 2})
    gateway.key = await make_key(database, exceptions=fields, quota=Quota(rpm=4))
    await until(lambda: gateway.runtime.catalog.principal_of(gateway.key) is not None)
    for word in ("a", "b", "a"):
        assert (await gateway.chat(structured_outputs={"choice": [word]})).status == 200
    refused = await gateway.chat(structured_outputs={"choice": ["c"]})
    assert (refused.status, refused.error["code"]) == (429, "rate_limit_exceeded")
    assert "2 different JSON schemas an hour" in refused.error["message"]
    assert 3500 < int(refused.headers["retry-after"]) <= 3600
    assert (await gateway.chat()).status == 200
    assert len(engine.calls) == len(await gateway.ended(4)) == 4


async def test_a_changed_limit_counts_at_once(gateway: Gateway, database: Database) -> None:
    """`keys set` reaches running gateways as a revocation does."""
    await make_limited(gateway, database, rpm=1)
    assert [(await gateway.chat()).status for _ in range(2)] == [200, 429]
    async with database.session() as session:
        (key,) = [key for key in await list_keys(session) if key.rpm == 1]
        await set_key(session, key.id, limits={"rpm": 0})
    await until(lambda: _quota(gateway).rpm is None)
    assert (await gateway.chat()).status == 200


def _quota(gateway: Gateway) -> Quota:
    principal = gateway.runtime.catalog.principal_of(gateway.key)
    assert principal is not None
    return principal.quota


async def test_requests_at_once_are_exact_over_two_workers(
    tmp_path: Path, engine: FakeEngine, database: Database
) -> None:
    """200 at a time on 16 places: 16 are at the engine, never more; then all places are free."""
    settings = make_settings(tmp_path, engine, port=free_port(), workers=2)
    key = await make_key(database, quota=Quota(concurrency=16))
    async with served(settings, database.url, key) as gateway:
        for number in itertools.count(1):
            num_answered = await crowd(gateway.session, engine)
            assert num_answered <= 16
            # A place may be free a moment after its answer was seen, so not every crowd finds all.
            if number >= 3 and num_answered == 16 and len(who_answered(settings)) == 2:
                break


async def crowd(session: aiohttp.ClientSession, engine: FakeEngine) -> int:
    """Make 200 requests, which the engine answers when all others are refused; return how many."""
    engine.calls.clear()
    may_answer = asyncio.Event()
    engine.script = answer_when(may_answer)
    asking = [asyncio.create_task(ask(session)) for _ in range(200)]
    await until(lambda: sum(task.done() for task in asking) + len(engine.calls) == 200)
    num_at_engine = len(engine.calls)
    may_answer.set()
    statuses = Counter(await asyncio.gather(*asking))
    assert statuses == {200: num_at_engine, 429: 200 - num_at_engine}
    return num_at_engine


async def test_a_changed_key_is_followed_by_every_worker_and_a_revoked_one_refused(
    tmp_path: Path, engine: FakeEngine, database: Database
) -> None:
    """Within a second: both hear of it, each by itself."""
    settings = make_settings(tmp_path, engine, port=free_port(), workers=2)
    async with database.session() as session:
        key, text = await create_key(session, role=Role.APP, tenant="default", name="web")
    async with served(settings, database.url, text) as gateway:
        while len(who_answered(settings)) < 2:
            assert set(await asyncio.gather(*(ask(gateway.session) for _ in range(40)))) == {200}
        async with database.session() as session:
            await set_key(session, key.id, exceptions=Exceptions(forbidden=frozenset({"user"})))
        await all_answer(gateway.session, 400)
        async with database.session() as session:
            await set_key(session, key.id, role=Role.REVIEWER, exceptions=Exceptions())
        await all_answer(gateway.session, 404)
        async with database.session() as session:
            await revoke_key(session, key.id)
        await all_answer(gateway.session, 401)


async def all_answer(session: aiohttp.ClientSession, status: int) -> None:
    """Wait until every worker answers with that status.

    A second is promised; 5 would be the safety net, and no sign of news that arrived.
    """
    changed_at = asked_at = time.monotonic()
    while set(await asyncio.gather(*(ask(session) for _ in range(40)))) != {status}:
        assert asked_at < changed_at + 4
        asked_at = time.monotonic()


async def ask(session: aiohttp.ClientSession) -> int:
    """Ask for a chat; return the status."""
    body = {"model": "base", "messages": MESSAGES, "user": "u1"}
    async with session.post("/v1/chat/completions", json=body) as response:
        await response.read()
        return response.status
