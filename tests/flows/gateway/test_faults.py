"""What goes wrong between client and engine, and what client, engine and journal see of it."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from serving.sections import JournalSettings
from serving.settings import Settings
from serving.store.database import Database
from serving.types import InferenceStatus
from tests.gateway import (
    Gateway,
    is_well,
    make_alias,
    make_settings,
    promote_adapter,
    running_gateway,
    until,
)
from tests.upstream_server import Answer, FakeEngine, Fault, fake_engine, streamed

STATUSES = [
    (400, 400, InferenceStatus.REFUSED),
    (422, 422, InferenceStatus.REFUSED),
    (401, 502, InferenceStatus.UPSTREAM_ERROR),
    (302, 502, InferenceStatus.UPSTREAM_ERROR),
    (404, 502, InferenceStatus.UPSTREAM_ERROR),
    (429, 503, InferenceStatus.UPSTREAM_ERROR),
    (500, 502, InferenceStatus.UPSTREAM_ERROR),
    (503, 503, InferenceStatus.UPSTREAM_ERROR),
]


async def test_an_adapter_that_an_engine_lost_is_never_replaced_by_another(
    gateway: Gateway, engine: FakeEngine, settings: Settings, database: Database
) -> None:
    """The engine's 404 un-proves it: 503 with Retry-After, and nothing else answers."""
    alias_id = await make_alias(database, settings, "support")
    await promote_adapter(database, settings, alias_id, "support-v1-aaaaaaaa", engine)
    prover = gateway.runtime.prover
    await until(lambda: bool(prover.replicas_for("default", "support-v1-aaaaaaaa")))
    await until(lambda: gateway.runtime.catalog.revision > 2)
    engine.adapters.clear()
    response = await gateway.chat(model="support")
    assert response.status == 503
    assert int(response.headers["retry-after"]) >= 1
    assert engine.calls == []
    (end,) = await gateway.ended(1)
    assert end.status is InferenceStatus.UPSTREAM_ERROR


async def test_another_replica_is_tried_before_the_first_byte(
    tmp_path: Path, database: Database
) -> None:
    """A replica that cannot be reached costs its clients nothing but time."""
    async with fake_engine() as first, fake_engine() as second:
        first.script = second.script = lambda _: Answer(before_head=Fault.RESET)
        settings = make_settings(tmp_path, first, second)
        async with running_gateway(settings, database) as gateway:
            await is_well(gateway)
            second.script = FakeEngine().script
            responses = [await gateway.chat() for _ in range(3)]
            assert [response.status for response in responses] == [200] * 3
            ends = await gateway.ended(3)
            assert {end.replica for end in ends} == {second.url}


async def test_an_engine_that_drops_every_connection_is_asked_once(
    gateway: Gateway, engine: FakeEngine
) -> None:
    """Once more is for another replica; there is none, so it is 503."""
    engine.script = lambda _: Answer(before_head=Fault.RESET)
    response = await gateway.chat()
    assert response.status == 503
    assert response.headers["retry-after"]
    assert len(engine.calls) == 1
    (end,) = await gateway.ended(1)
    assert end.status is InferenceStatus.UPSTREAM_ERROR


@pytest.mark.parametrize("is_streamed", [True, False])
@pytest.mark.parametrize("pieces", [[Fault.STALL], [b"data: {}\n\n", Fault.STALL]])
async def test_a_client_that_hangs_up_stops_the_engine(
    gateway: Gateway, engine: FakeEngine, is_streamed: bool, pieces: list[bytes | Fault]
) -> None:
    """Streamed or not, before or after the first byte: the engine's call ends, recorded as such."""
    kind = "text/event-stream" if is_streamed else "application/json"
    engine.script = lambda _: Answer(headers={"content-type": kind}, pieces=list(pieces))
    task = asyncio.create_task(gateway.chat(stream=is_streamed))
    await until(lambda: len(engine.calls) == 1)
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await until(lambda: engine.num_hung_up == 1)
    (end,) = await gateway.ended(1)
    assert end.status is InferenceStatus.CLIENT_ABORTED
    assert end.response == b"".join(piece for piece in pieces if isinstance(piece, bytes))


async def test_an_error_stands_apart_from_half_an_event(
    gateway: Gateway, engine: FakeEngine
) -> None:
    """A stream that ends, in good order, in the middle of one: no client could read both as one."""
    engine.script = lambda _: Answer(
        headers={"content-type": "text/event-stream"},
        pieces=[b'data: {"choices":[{}]}\n\n', b'data: {"cho'],
    )
    response = await gateway.chat(stream=True)
    first, error, rest = response.body.split(b"\n\n")
    assert (first, rest) == (b'data: {"choices":[{}]}', b"")
    assert json.loads(error.removeprefix(b"data: "))["error"]["code"] == "engine_went_away"
    (end,) = await gateway.ended(1)
    assert end.response.endswith(b'data: {"cho')


@pytest.mark.parametrize("fault", [Fault.RESET, Fault.END])
async def test_an_engine_that_dies_in_mid_stream_is_reported_in_the_stream(
    gateway: Gateway, engine: FakeEngine, fault: Fault
) -> None:
    """What came is passed on, then an error event and no [DONE]."""
    engine.script = lambda _: Answer(
        headers={"content-type": "text/event-stream"},
        pieces=[b'data: {"choices":[{}]}\n\n', 0.05, fault],
    )
    response = await gateway.chat(stream=True)
    first, error, rest = response.body.split(b"\n\n")
    assert first == b'data: {"choices":[{}]}'
    assert json.loads(error.removeprefix(b"data: "))["error"]["code"] == "engine_went_away"
    assert rest == b""
    (end,) = await gateway.ended(1)
    assert end.status is InferenceStatus.UPSTREAM_ERROR
    assert end.response == first + b"\n\n"


async def test_a_stream_without_its_done_is_no_whole_answer(
    gateway: Gateway, engine: FakeEngine
) -> None:
    """A body that ends in good order but too early is an engine's failure too."""
    engine.script = lambda _: Answer(
        headers={"content-type": "text/event-stream"}, pieces=[b"data: {}\n\n"]
    )
    response = await gateway.chat(stream=True)
    assert b'"error"' in response.body
    (end,) = await gateway.ended(1)
    assert end.status is InferenceStatus.UPSTREAM_ERROR


async def test_statuses_of_the_engine(gateway: Gateway, engine: FakeEngine) -> None:
    """What the client did wrong passes as it is; all else is told as the engine's failure."""
    words = b'{"error":{"message":"max_tokens is too large","type":"BadRequestError"}}'
    for count, (status, answered, recorded) in enumerate(STATUSES, start=1):
        engine.script = lambda _, status=status: Answer(status=status, pieces=[words])
        response = await gateway.chat()
        assert response.status == answered
        assert (response.body == words) is (recorded is InferenceStatus.REFUSED)
        end = (await gateway.ended(count))[-1]
        assert (end.status, end.http_status, end.response) == (recorded, status, words)


async def test_no_engine_is_503_at_once(tmp_path: Path, database: Database) -> None:
    """Nothing proved: the client is told to come back, and nothing hangs."""
    async with fake_engine() as gone:
        settings = make_settings(tmp_path, gone)
    async with running_gateway(settings, database) as gateway:
        response = await gateway.chat()
        assert response.status == 503
        assert response.headers["retry-after"]
        assert response.error["code"] == "no_engine"


async def test_a_call_that_cannot_be_written_is_the_operators_fault(
    gateway: Gateway, engine: FakeEngine
) -> None:
    """The client's request is right: it gets 503, and not a word of the configuration."""
    await is_well(gateway)
    gateway.runtime.pool_headers["default"]["authorization"] = "Bearer secret\n"
    response = await gateway.chat()
    assert (response.status, response.error["code"]) == (503, "no_engine")
    assert b"authorization" not in response.body
    assert engine.calls == []


async def test_shutdown_tells_the_client_and_the_record(
    settings: Settings, database: Database, engine: FakeEngine
) -> None:
    """When drain time is over, what still streams gets an error event and its End."""
    async with running_gateway(settings, database) as gateway:
        await is_well(gateway)
        engine.script = lambda received: streamed(received, ["a", "b"], gap=Fault.STALL)
        task = asyncio.create_task(gateway.chat(stream=True))
        await until(lambda: len(engine.calls) == 1)
        gateway.server.should_exit = True
        body = (await task).body
    assert b"shutting_down" in body
    assert b"[DONE]" not in body
    (end,) = gateway.ends()
    assert end.status is InferenceStatus.INTERRUPTED


async def test_many_clients_that_leave_leak_nothing(gateway: Gateway, engine: FakeEngine) -> None:
    """After a crowd that hung up at any moment, everybody else is answered and nothing runs."""
    engine.script = lambda received: streamed(received, ["a", "b", "c"], gap=0.01)

    async def leave(number: int) -> None:
        task = asyncio.create_task(gateway.chat(stream=bool(number % 2)))
        await asyncio.sleep(number % 25 / 500)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    await asyncio.gather(*(leave(number) for number in range(60)))
    responses = await asyncio.gather(*(gateway.chat(stream=True) for _ in range(10)))
    assert [response.status for response in responses] == [200] * 10
    await until(lambda: gateway.runtime.traffic.num_running == 0)
    begun, ended = [b.id for b in gateway.begins()], [e.id for e in gateway.ends()]
    assert sorted(begun) == sorted(ended)
    assert len(set(ended)) == len(ended)


async def test_a_full_journal_refuses_before_the_engine(
    tmp_path: Path, engine: FakeEngine, database: Database
) -> None:
    """What cannot be recorded is not begun: 503 with Retry-After."""
    settings = make_settings(tmp_path, engine)
    journal = JournalSettings(segment_bytes=2**16, max_bytes=2**20)
    full = settings.model_copy(update={"journal": journal})
    settings.journal_dir.mkdir()
    (settings.journal_dir / "other.000001.journal").write_bytes(b"x" * journal.max_bytes)
    async with running_gateway(full, database) as gateway:
        await is_well(gateway)
        response = await gateway.chat()
        assert response.status == 503
        assert response.headers["retry-after"]
        assert engine.calls == []


async def test_half_a_body_is_given_up(
    settings: Settings, database: Database, tmp_path: Path, engine: FakeEngine
) -> None:
    """A body that never comes does not hold its connection for ever."""
    short = make_settings(tmp_path, engine, body_seconds=0.3)
    async with running_gateway(short, database) as gateway:
        address = gateway.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(address[0], int(address[1]))
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
            b"Authorization: Bearer " + gateway.key.encode() + b"\r\nContent-Length: 100\r\n\r\n{"
        )
        async with asyncio.timeout(20):
            answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 400")
        assert b"body_timeout" in answer
        writer.close()


async def test_a_deleted_journal_refuses_until_it_is_back(
    gateway: Gateway, engine: FakeEngine
) -> None:
    """503, and no word of where; probes and metrics are answered meanwhile, and no restart is needed."""
    folder = gateway.settings.journal_dir
    shutil.rmtree(folder)
    response = await gateway.chat()
    assert (response.status, response.error["code"]) == (503, "journal_unwritable")
    assert str(gateway.settings.home) not in response.body.decode()
    assert response.headers["retry-after"]
    assert engine.calls == []
    async with gateway.session.get(gateway.url + "/metrics") as metrics:
        assert metrics.status == 200
        assert 'strop_failures_total{where="journal"} 1.0' in await metrics.text()
    folder.mkdir()
    assert (await gateway.chat()).status == 200
    await gateway.ended(1)
