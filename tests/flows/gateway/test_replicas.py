"""Several replicas: who answers when one is killed, slow or broken, and when all are full."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from serving.settings import Settings
from serving.store.database import Database
from serving.types import InferenceStatus
from tests.gateway import Answered, Gateway, is_well, make_settings, running_gateway, until
from tests.upstream_server import (
    Answer,
    FakeEngine,
    Fault,
    Received,
    answer_like_vllm,
    answer_when,
    fake_engine,
    streamed,
)


@asynccontextmanager
async def a_gateway_over(
    num_engines: int,
    home: Path,
    database: Database,
    *,
    max_in_flight: int = 1024,
    gateway: dict[str, Any] | None = None,
    **routing: Any,
) -> AsyncIterator[tuple[Gateway, Sequence[FakeEngine]]]:
    """Run a gateway over so many engines, all of them proved."""
    async with AsyncExitStack() as stack:
        engines = [await stack.enter_async_context(fake_engine()) for _ in range(num_engines)]
        plain = make_settings(home, *engines, **(gateway or {}))
        told = plain.model_dump()
        told["engine"]["max_in_flight"] = max_in_flight
        told["routing"] |= routing
        settings = Settings.model_validate(told)
        found = await stack.enter_async_context(running_gateway(settings, database))
        await is_well(found)
        yield found, engines


def broken(_: Received) -> Answer:
    """Answer as an engine that has a bug."""
    return Answer(status=500, pieces=[b'{"error":{"message":"boom"}}'])


def overloaded(_: Received) -> Answer:
    """Refuse at once, as an engine or a proxy before it does that has no room."""
    return Answer(status=503, headers={"retry-after": "7"}, pieces=[b'{"detail":"full"}'])


def slowly(received: Received) -> Answer:
    """Answer after a while."""
    answer = answer_like_vllm(received)
    answer.before_head = 0.3
    return answer


async def crowd(gateway: Gateway, count: int, **fields: Any) -> list[Answered]:
    """Make so many requests at once."""
    return await asyncio.gather(*(gateway.chat(**fields) for _ in range(count)))


def statuses(answers: Sequence[Answered]) -> Counter[int]:
    """Count how the requests ended."""
    return Counter(answer.status for answer in answers)


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_a_killed_replica_costs_no_request(
    tmp_path: Path, database: Database, is_streamed: bool
) -> None:
    """100 at once, and one of three replicas dies with a third of them: all are answered, once."""
    async with a_gateway_over(3, tmp_path, database) as (gateway, engines):
        may_answer = asyncio.Event()
        for engine in engines:
            engine.script = answer_when(may_answer)
        asking = asyncio.create_task(crowd(gateway, 100, stream=is_streamed))
        await until(lambda: sum(len(engine.calls) for engine in engines) == 100)
        num_lost = len(engines[0].calls)
        assert num_lost > 20
        engines[0].script = lambda _: Answer(before_head=Fault.RESET)
        engines[0].hang_up()
        may_answer.set()
        assert statuses(await asking) == {200: 100}
        ends = await gateway.ended(100)
        assert {end.status for end in ends} == {InferenceStatus.OK}
        assert engines[0].url not in {end.replica for end in ends}
        assert sum(len(engine.calls) for engine in engines) == 100 + num_lost


async def test_a_broken_replica_is_put_out_tried_and_taken_back(
    tmp_path: Path, database: Database
) -> None:
    """500s are passed on and not repeated; after some no more come; mended, it answers again."""
    routing = {"eject_after": 3, "eject_seconds": 0.3}
    async with a_gateway_over(2, tmp_path, database, **routing) as (gateway, (sick, well)):
        sick.script = broken
        answers = [await gateway.chat() for _ in range(20)]
        assert statuses(answers)[502] == len(sick.calls)
        assert 3 <= len(sick.calls) <= 6  # three, and the trials if this took long
        assert len(well.calls) + len(sick.calls) == 20
        dispatcher = gateway.runtime.dispatcher
        assert dispatcher.is_ejected(sick.url)
        sick.script = answer_like_vllm
        async with asyncio.timeout(60):
            while dispatcher.is_ejected(sick.url):
                assert (await gateway.chat()).status == 200


@pytest.mark.parametrize("break_off", [(), (Fault.RESET,), (Fault.STALL,)])
async def test_a_replica_without_room_costs_no_request(
    tmp_path: Path, database: Database, break_off: tuple[Fault, ...]
) -> None:
    """It is never busy, and would draw all traffic: what it refuses is asked of the other one.

    However its refusal ends: its status is enough.
    """

    def refuse(received: Received) -> Answer:
        answer = overloaded(received)
        answer.pieces += break_off
        return answer

    routing = {"eject_after": 3, "eject_seconds": 60}
    async with a_gateway_over(2, tmp_path, database, **routing) as (gateway, (full, free)):
        full.script = refuse
        answers = [await gateway.chat() for _ in range(10)]
        answers += await crowd(gateway, 10, stream=True)
        assert statuses(answers) == {200: 20}
        assert (len(full.calls), len(free.calls)) == (3, 20)
        assert gateway.runtime.dispatcher.is_ejected(full.url)
        ends = await gateway.ended(20)
        assert {(end.status, end.http_status) for end in ends} == {(InferenceStatus.OK, 200)}
        assert not any(b"full" in end.response for end in ends)


async def test_where_no_replica_has_room_clients_are_told_when_to_come_back(
    tmp_path: Path, database: Database
) -> None:
    """503 with the engine's Retry-After; once all are out, a request is sent to one of them only."""
    routing = {"eject_after": 3, "eject_seconds": 60}
    async with a_gateway_over(2, tmp_path, database, **routing) as (gateway, engines):
        for engine in engines:
            engine.script = overloaded
        answers = [await gateway.chat() for _ in range(10)]
        assert {(answer.status, answer.error["code"]) for answer in answers} == {
            (503, "engine_overloaded")
        }
        assert {answer.headers["retry-after"] for answer in answers} == {"7"}
        assert sum(len(engine.calls) for engine in engines) == 10 + 3
        (end, *_) = await gateway.ended(10)
        assert (end.status, end.http_status) == (InferenceStatus.UPSTREAM_ERROR, 503)
        assert end.response == b'{"detail":"full"}'


async def test_half_open_is_one_request(tmp_path: Path, database: Database) -> None:
    """While the trial is under way, the others go where they are answered."""
    routing = {"eject_after": 1, "eject_seconds": 0.05}
    async with a_gateway_over(2, tmp_path, database, **routing) as (gateway, (sick, well)):
        sick.script = broken
        while not sick.calls:
            await gateway.chat()
        await asyncio.sleep(0.1)
        sick.script = lambda received: Answer(before_head=Fault.STALL)
        hanging = [asyncio.create_task(gateway.chat()) for _ in range(10)]
        await until(lambda: len(well.calls) + len(sick.calls) >= 11)
        await until(lambda: sum(task.done() for task in hanging) == 9)
        assert len(sick.calls) == 2
        sick.script = lambda _: Answer(before_head=Fault.RESET)
        sick.hang_up()
        assert {(await task).status for task in hanging} == {200}


async def test_a_slow_replica_gets_less(tmp_path: Path, database: Database) -> None:
    """Whoever is free answers: 60 requests by 6 clients hardly wait for the slow one."""
    async with a_gateway_over(2, tmp_path, database) as (gateway, (slow, fast)):
        slow.script = slowly

        async def call_on() -> list[Answered]:
            return [await gateway.chat() for _ in range(10)]

        answers = await asyncio.gather(*(call_on() for _ in range(6)))
        assert statuses([answer for group in answers for answer in group]) == {200: 60}
        assert len(slow.calls) < len(fast.calls)


async def test_a_crowd_waits_for_places_and_none_is_lost(
    tmp_path: Path, database: Database
) -> None:
    """Two replicas of five places: never more at one, and all 100 are answered in the end."""
    most: Counter[str] = Counter()
    async with a_gateway_over(2, tmp_path, database, max_in_flight=5, queue_seconds=60) as (
        gateway,
        engines,
    ):

        def counted(engine: FakeEngine, received: Received) -> Answer:
            most[engine.url] = max(most[engine.url], gateway.runtime.dispatcher.load_of(engine.url))
            return streamed(received, ["a"], gap=0.02)

        for engine in engines:
            engine.script = lambda received, engine=engine: counted(engine, received)
        answers = await crowd(gateway, 100, stream=True)
        assert statuses(answers) == {200: 100}
        assert all(b"[DONE]" in answer.body for answer in answers)
        assert max(most.values()) == 5
        assert len(await gateway.ended(100)) == 100


async def test_more_than_the_queue_holds_is_told_when_to_come_back(
    tmp_path: Path, database: Database
) -> None:
    """503 at once, with Retry-After; those who were let in are answered."""
    routing = {"max_in_flight": 2, "queue_size": 3, "queue_seconds": 60}
    async with a_gateway_over(1, tmp_path, database, **routing) as (gateway, (engine,)):
        may_answer = asyncio.Event()
        engine.script = answer_when(may_answer)
        asking = [asyncio.create_task(gateway.chat()) for _ in range(40)]
        await until(lambda: sum(task.done() for task in asking) == 35)
        may_answer.set()
        answers = await asyncio.gather(*asking)
        assert statuses(answers) == {200: 5, 503: 35}
        refused = [answer for answer in answers if answer.status == 503]
        assert {answer.error["code"] for answer in refused} == {"no_capacity"}
        assert all(1 <= int(answer.headers["retry-after"]) <= 60 for answer in refused)
        assert len(engine.calls) == 5


async def test_a_client_that_leaves_the_queue_is_recorded_as_gone(
    tmp_path: Path, database: Database
) -> None:
    """No engine hears of it."""
    async with a_gateway_over(1, tmp_path, database, max_in_flight=1) as (gateway, (engine,)):
        engine.script = lambda _: Answer(before_head=Fault.STALL)
        first = asyncio.create_task(gateway.chat())
        await until(lambda: len(engine.calls) == 1)
        second = asyncio.create_task(gateway.chat())
        await until(lambda: len(gateway.begins()) == 2)
        second.cancel()
        await until(lambda: bool(gateway.ends()))
        (end,) = gateway.ends()
        assert (end.status, len(engine.calls)) == (InferenceStatus.CLIENT_ABORTED, 1)
        first.cancel()
        await gateway.ended(2)


async def test_a_session_keeps_its_replica(tmp_path: Path, database: Database) -> None:
    """With `routing.affinity`: conversation first, user else; many sessions are spread."""
    async with a_gateway_over(3, tmp_path, database, affinity="session") as (gateway, engines):
        for user in range(30):
            for _ in range(2):
                await gateway.chat(user=f"user-{user}")
        homes: dict[str, set[str]] = {}
        for end, begin in zip(await gateway.ended(60), gateway.begins(), strict=True):
            assert end.id == begin.id
            homes.setdefault(str(begin.subject), set()).add(str(end.replica))
        assert all(len(found) == 1 for found in homes.values())
        assert all(engine.calls for engine in engines)


async def test_silence_in_mid_stream_is_told_in_the_stream(
    tmp_path: Path, database: Database
) -> None:
    """`gateway.idle_seconds` from one piece to the next: then an error event, and no [DONE]."""
    limits = {"idle_seconds": 0.3}
    async with a_gateway_over(1, tmp_path, database, gateway=limits) as (gateway, (engine,)):
        engine.script = lambda received: streamed(received, ["a", "b"], gap=Fault.STALL)
        answer = await gateway.chat(stream=True)
        assert b'"engine_timeout"' in answer.body
        assert b"[DONE]" not in answer.body
        (end,) = await gateway.ended(1)
        assert end.status is InferenceStatus.UPSTREAM_ERROR
        await until(lambda: engine.num_hung_up == 1)
