"""The life of a request, on real sockets: what engine, client and journal see of it."""

import asyncio
import json
from pathlib import Path

import pytest

from serving.settings import Settings
from serving.store.database import Database
from serving.store.keys import list_keys, revoke_key
from serving.types import Arm, InferenceStatus
from tests.gateway import (
    MESSAGES,
    Gateway,
    is_well,
    make_alias,
    make_key,
    make_settings,
    promote_adapter,
    running_gateway,
    until,
)
from tests.upstream_server import Answer, FakeEngine, Fault, events, fake_engine, streamed


async def test_an_answer_passes_through_and_is_recorded(
    gateway: Gateway, engine: FakeEngine
) -> None:
    """The engine's bytes reach the client untouched; Begin and End say what happened."""
    response = await gateway.chat(user="anna", temperature=0.2)
    body = response.json
    inference_id = response.headers["x-strop-inference-id"]
    assert response.status == 200
    assert body["id"] == f"chatcmpl-{inference_id}"
    assert response.headers["x-strop-adapter"] == "base"
    (begin,), (end,) = gateway.begins(), await gateway.ended(1)
    assert begin.id == end.id == inference_id
    assert (begin.arm, begin.subject, begin.model) == (Arm.BASE, "anna", "base")
    assert begin.request == engine.calls[0].body
    assert end.status is InferenceStatus.OK
    assert end.response == response.body
    assert end.replica == engine.url


async def test_the_engine_sees_ours_and_nothing_of_the_clients(
    gateway: Gateway, engine: FakeEngine
) -> None:
    """Authorization, cookies and the client's request id stay here; cache_salt is set."""
    body = json.dumps({"model": "base", "messages": MESSAGES}).encode()
    mine = {"Cookie": "a=b", "X-Request-Id": "evil", "X-Api-Key": "k", "TE": "trailers"}
    response = await gateway.post("/v1/chat/completions", body, mine)
    received = engine.calls[0]
    assert received.headers["x-request-id"] == response.headers["x-strop-inference-id"]
    assert not {"authorization", "cookie", "x-api-key", "te"} & set(received.headers)
    assert len(received.json["cache_salt"]) == 32


async def test_tenants_have_different_cache_salts(
    gateway: Gateway, engine: FakeEngine, database: Database
) -> None:
    """Nobody learns from another tenant's cache; one tenant's requests share theirs."""
    foreign = await make_key(database, tenant="other")
    body = json.dumps({"model": "base", "messages": MESSAGES}).encode()
    await gateway.chat()
    await gateway.chat()
    await until(lambda: gateway.runtime.catalog.principal_of(foreign) is not None)
    await gateway.post("/v1/chat/completions", body, {"Authorization": f"Bearer {foreign}"})
    salts = [call.json["cache_salt"] for call in engine.calls]
    assert salts[0] == salts[1] != salts[2]


@pytest.mark.parametrize("wants_usage", [True, False])
async def test_a_stream_is_the_engines_bytes_less_our_own_usage(
    gateway: Gateway, engine: FakeEngine, wants_usage: bool
) -> None:
    """The engine is always asked for usage; the client gets that event only if it asked."""
    options = {"stream_options": {"include_usage": True}} if wants_usage else {}
    response = await gateway.chat(stream=True, **options)
    received = engine.calls[0]
    assert received.json["stream_options"]["include_usage"] is True
    sent = events(received, ["Hello", " there", "!"])
    expected = sent if wants_usage else [*sent[:-2], sent[-1]]
    assert response.body == b"".join(expected)
    assert response.headers["content-type"].startswith("text/event-stream")
    (end,) = await gateway.ended(1)
    assert (end.status, end.is_sse) == (InferenceStatus.OK, True)
    assert end.response == b"".join(sent)
    assert end.first_token_ms is not None


async def test_a_release_gives_prompt_and_decoding_where_the_client_has_none(
    gateway: Gateway, engine: FakeEngine, settings: Settings, database: Database
) -> None:
    """The system prompt is put first, unless the client sends one."""
    await make_alias(database, settings, "support", system_prompt="Be brief.")
    await until(lambda: bool(gateway.runtime.catalog.aliases))
    response = await gateway.chat(model="support")
    assert response.headers["x-strop-release"] == "1"
    own = [{"role": "developer", "content": "Be long."}, *MESSAGES]
    await gateway.chat(model="support", messages=own)
    first, second = (call.json["messages"] for call in engine.calls)
    assert first == [{"role": "system", "content": "Be brief."}, *MESSAGES]
    assert second == own
    assert all(call.json["model"] == "base" for call in engine.calls)


async def test_a_promoted_adapter_answers_when_it_is_proved(
    gateway: Gateway, engine: FakeEngine, settings: Settings, database: Database
) -> None:
    """The flip is followed without one failed request; header, model and record agree."""
    alias_id = await make_alias(database, settings, "support")
    await until(lambda: bool(gateway.runtime.catalog.aliases))
    await promote_adapter(database, settings, alias_id, "support-v1-aaaaaaaa", engine)
    statuses, adapters = [], []
    while not adapters or adapters[-1] == "base":
        response = await gateway.chat(model="support")
        statuses.append(response.status)
        adapters.append(response.headers["x-strop-adapter"])
        answered_by = response.json["model"]
        assert answered_by == adapters[-1]
    assert adapters[-1] == "support-v1-aaaaaaaa"
    assert set(statuses) == {200}
    assert gateway.begins()[-1].adapter == "support-v1-aaaaaaaa"


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
    if is_streamed:
        assert end.response == b"".join(piece for piece in pieces if isinstance(piece, bytes))


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


@pytest.mark.parametrize(
    ("status", "answered", "recorded"),
    [
        (400, 400, InferenceStatus.REFUSED),
        (422, 422, InferenceStatus.REFUSED),
        (401, 502, InferenceStatus.UPSTREAM_ERROR),
        (302, 502, InferenceStatus.UPSTREAM_ERROR),
        (404, 502, InferenceStatus.UPSTREAM_ERROR),
        (429, 503, InferenceStatus.UPSTREAM_ERROR),
        (500, 502, InferenceStatus.UPSTREAM_ERROR),
        (503, 503, InferenceStatus.UPSTREAM_ERROR),
    ],
)
async def test_statuses_of_the_engine(
    gateway: Gateway, engine: FakeEngine, status: int, answered: int, recorded: InferenceStatus
) -> None:
    """What the client did wrong passes as it is; all else is told as the engine's failure."""
    words = b'{"error":{"message":"max_tokens is too large","type":"BadRequestError"}}'
    engine.script = lambda _: Answer(status=status, pieces=[words])
    response = await gateway.chat()
    assert response.status == answered
    assert (response.body == words) is (recorded is InferenceStatus.REFUSED)
    (end,) = await gateway.ended(1)
    assert (end.status, end.http_status) == (recorded, status)
    assert end.response == words


async def test_no_engine_is_503_at_once(tmp_path: Path, database: Database) -> None:
    """Nothing proved: the client is told to come back, and nothing hangs."""
    async with fake_engine() as gone:
        settings = make_settings(tmp_path, gone)
    async with running_gateway(settings, database) as gateway:
        response = await gateway.chat()
        assert response.status == 503
        assert response.headers["retry-after"]
        assert response.error["code"] == "no_engine"


async def test_silence_of_the_engine_is_504(tmp_path: Path, database: Database) -> None:
    """No first byte in time: given up, and not tried again elsewhere."""
    async with fake_engine() as engine:
        settings = make_settings(tmp_path, engine, first_byte_seconds=0.3)
        engine.script = lambda _: Answer(before_head=Fault.STALL)
        async with running_gateway(settings, database) as gateway:
            await is_well(gateway)
            response = await gateway.chat()
            assert response.status == 504
            await until(lambda: engine.num_hung_up == 1)


async def test_a_no_log_key_leaves_no_record(
    gateway: Gateway, engine: FakeEngine, database: Database
) -> None:
    """Nothing is journaled, and the id says so: nobody can rate what was never kept."""
    gateway.key = await make_key(database, no_log=True)
    await until(lambda: gateway.runtime.catalog.principal_of(gateway.key) is not None)
    response = await gateway.chat()
    assert response.status == 200
    inference_id = response.headers["x-strop-inference-id"]
    assert not gateway.runtime.signer.verify(inference_id).is_logged
    assert gateway.records() == []


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
    full = settings.model_copy(
        update={"journal": settings.journal.model_copy(update={"max_bytes": 1})}
    )
    async with running_gateway(full, database) as gateway:
        await is_well(gateway)
        response = await gateway.chat()
        assert response.status == 503
        assert response.headers["retry-after"]
        assert engine.calls == []


async def test_a_revoked_key_is_refused(gateway: Gateway, database: Database) -> None:
    """A key that the catalogue no longer holds opens nothing, soon after its revocation."""
    async with database.session() as session:
        for key in await list_keys(session):
            await revoke_key(session, key.id)
    await until(lambda: not gateway.runtime.catalog.principals)
    response = await gateway.chat()
    assert response.status == 401
    assert response.headers["www-authenticate"].startswith("Bearer")


async def test_completions_work_the_same(gateway: Gateway, engine: FakeEngine) -> None:
    """The older surface has its own prompt field and id prefix."""
    body = json.dumps({"model": "base", "prompt": "Dear", "suffix": None}).encode()
    response = await gateway.post("/v1/completions", body)
    assert response.json["id"].startswith("cmpl-")
    assert engine.calls[0].json["prompt"] == "Dear"
    assert "suffix" not in engine.calls[0].json


async def test_what_was_authorised_is_what_is_sent(gateway: Gateway, engine: FakeEngine) -> None:
    """A key that stands twice cannot mean one thing here and another to the engine."""
    twice = b'{"model":"x","model":"base","messages":[{"role":"user","content":"a"}],"foo":1}'
    response = await gateway.post("/v1/chat/completions", twice)
    assert response.headers["x-strop-ignored"] == "foo"
    assert engine.calls[0].body.count(b'"model"') == 1
    assert engine.calls[0].json["model"] == "base"
    assert "foo" not in engine.calls[0].json


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


async def test_a_compressed_body_is_refused(gateway: Gateway) -> None:
    """Its size could not be bounded before it is unpacked."""
    response = await gateway.post("/v1/chat/completions", b"x", {"Content-Encoding": "gzip"})
    assert response.status == 400
