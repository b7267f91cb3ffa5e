"""The life of a request, on real sockets: what engine, client and journal see of it."""

import asyncio
import json
import re

import pytest

from serving.sections import JournalSettings
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
    promote_adapter,
    running_gateway,
    until,
)
from tests.upstream_server import (
    Answer,
    FakeEngine,
    Received,
    answer_like_vllm,
    events,
    streamed,
)


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


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_a_stream_may_end_without_its_last_blank_line(
    gateway: Gateway, engine: FakeEngine, path: str
) -> None:
    """What every client takes for an answer is recorded as one, with its tokens."""

    def cut(received: Received) -> Answer:
        answer = answer_like_vllm(received)
        *_, last = answer.pieces
        assert isinstance(last, bytes)
        answer.pieces[-1] = last.rstrip(b"\n")
        return answer

    engine.script = cut
    fields = {"model": "base", "messages": MESSAGES, "max_tokens": 9, "stream": True}
    response = await gateway.post(path, json.dumps(fields).encode())
    (end,) = await gateway.ended(1)
    assert end.status is InferenceStatus.OK
    assert end.response.endswith(response.body[-6:])
    assert b"error" not in response.body
    assert b"usage" in end.response
    assert "strop_tokens_total{" in gateway.runtime.metrics.render().decode()


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


async def test_a_revoked_key_is_refused(gateway: Gateway, database: Database) -> None:
    """A key that the catalogue no longer holds opens nothing, soon after its revocation."""
    async with database.session() as session:
        for key in await list_keys(session):
            await revoke_key(session, key.id)
    await until(lambda: not gateway.runtime.catalog.principals)
    response = await gateway.chat()
    assert response.status == 401
    assert response.headers["www-authenticate"].startswith("Bearer")


async def test_a_key_that_is_revoked_while_its_body_comes_is_refused(
    gateway: Gateway, database: Database
) -> None:
    """Or whoever holds one could keep requests open for later."""
    key = await make_key(database)
    known = gateway.runtime.follower
    await until(lambda: known.catalog.principal_of(key) is not None)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]))
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    body = b'{"model": "base", "messages": [{"role": "user", "content": "a"}]}'
    head += f"Authorization: Bearer {key}\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body[:1])
    await until(lambda: len(gateway.server.server_state.tasks) == 1)
    async with database.session() as session:
        for found in await list_keys(session):
            await revoke_key(session, found.id)
    await until(lambda: known.catalog.principal_of(key) is None)
    writer.write(body[1:])
    async with asyncio.timeout(60):
        assert (await reader.readline()).startswith(b"HTTP/1.1 401")
    writer.close()


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


async def test_of_an_answer_too_long_for_a_record_the_beginning_is_kept(
    settings: Settings, database: Database, engine: FakeEngine
) -> None:
    """The client gets all of a stream, its tokens are counted; vectors do not count as long."""
    journal = JournalSettings(max_record_bytes=2**16)
    words = ["parcel " * 20] * 600
    vectors = {"data": ["x" * 2**17], "usage": {"prompt_tokens": 2}}
    async with running_gateway(
        settings.model_copy(update={"journal": journal}), database
    ) as gateway:
        await is_well(gateway)
        engine.script = lambda received: streamed(received, words)
        stream = await gateway.chat(stream=True)
        assert stream.body.count(b"data: ") == len(words) + 1
        engine.script = lambda _: Answer(pieces=[json.dumps(vectors).encode()])
        await gateway.post("/v1/embeddings", b'{"model": "base", "input": "a"}')
        long, embedded = await gateway.ended(2)
        told = gateway.runtime.metrics.render().decode()
    assert (long.status, long.is_sse, long.is_truncated) == (InferenceStatus.OK, True, True)
    assert 2**16 - 1000 < len(long.response) < 2**16
    assert stream.body.startswith(long.response)
    assert json.loads(embedded.response) == {"usage": vectors["usage"]}
    assert not embedded.is_truncated
    assert re.search(r'strop_tokens_total\{.*direction="completion".*\} 3.0', told)


async def test_a_compressed_body_is_refused(gateway: Gateway) -> None:
    """Its size could not be bounded before it is unpacked."""
    response = await gateway.post("/v1/chat/completions", b"x", {"Content-Encoding": "gzip"})
    assert response.status == 400
