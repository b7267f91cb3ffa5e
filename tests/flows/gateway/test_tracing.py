"""Traces as a collector gets them: whole, in the conventions' words, and without anybody's."""

import asyncio
import json
import logging
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.logs import JsonFormatter
from serving.routing.catalog import Catalog
from serving.settings import Settings
from serving.store.database import Database
from tests.canary import CANARY, said_in_every_way
from tests.collector import Collector, collecting
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

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = {"traceparent": f"00-{TRACE}-{PARENT}-01"}


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches leave after 20 ms, not after 5 s."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    """One that takes everything."""
    async with collecting() as found:
        yield found


@pytest.fixture
def settings(tmp_path: Path, engine: FakeEngine, collector: Collector) -> Settings:
    """A new home whose gateway sends its traces there."""
    return make_settings(tmp_path, engine, otlp_endpoint=collector.url)


def body(**fields: object) -> bytes:
    """Return a chat's body."""
    return json.dumps(
        {"model": "base", "messages": [{"role": "user", "content": "a"}], **fields}
    ).encode()


async def test_a_request_and_its_call_are_spans_of_the_clients_trace(
    gateway: Gateway, engine: FakeEngine, collector: Collector
) -> None:
    """One span each, with what the conventions ask for; the engine is told to go on from ours."""
    answer = await gateway.post("/v1/chat/completions", body(), TRACEPARENT)
    request, (call,) = await collector.trace()
    assert collector.services == {"strop-gateway"}
    assert request.span.trace_id.hex() == TRACE
    assert request.span.parent_span_id.hex() == PARENT
    assert engine.calls[0].headers["traceparent"] == call.traceparent
    both = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "vllm",
        "gen_ai.request.model": "base",
        "gen_ai.response.model": "base",
        "gen_ai.request.stream": False,
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 3,
        "http.response.status_code": 200,
        "strop.inference_id": answer.headers["x-strop-inference-id"],
    }
    assert request.name == "POST /v1/chat/completions"
    assert request.attributes == both | {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "url.path": "/v1/chat/completions",
        "url.scheme": "http",
        "server.address": "127.0.0.1",
        "server.port": 8080,
        "strop.tenant": "default",
        "strop.arm": "base",
        "strop.status": "ok",
    }
    assert call.name == "chat base"
    assert call.attributes == both | {"server.address": "127.0.0.1", "server.port": engine.port}
    assert not request.is_error
    assert not call.is_error


async def test_a_stream_of_an_alias_tells_who_answered_and_when(
    gateway: Gateway, engine: FakeEngine, collector: Collector, database: Database
) -> None:
    """Alias, release and arm; the engine's own name for its model; the moment of the first token."""
    alias, name = await make_alias(database, gateway.settings, "support"), "support-v1-aaaaaaaa"
    await promote_adapter(database, gateway.settings, alias, name, engine)
    prover, follower = gateway.runtime.prover, gateway.runtime.follower
    await until(lambda: prover.replicas_for("default", name) != ())
    await until(lambda: name in {a.champion.adapter for a in follower.catalog.all_aliases})
    await gateway.chat(model="support", stream=True)
    request, (call,) = await collector.trace()
    assert request.attributes["gen_ai.request.model"] == "support"
    assert request.attributes["gen_ai.response.model"] == name
    assert request.attributes["strop.alias"] == "support"
    assert request.attributes["strop.release"] == 2
    assert request.attributes["strop.arm"] == "champion"
    assert request.attributes["gen_ai.usage.output_tokens"] == 3
    assert call.name == f"chat {name}"
    assert call.events == ["strop.first_token"]
    (event,) = call.span.events
    assert call.span.start_time_unix_nano < event.time_unix_nano < call.span.end_time_unix_nano
    assert call.attributes["gen_ai.response.time_to_first_chunk"] > 0


async def test_what_clients_do_wrong_is_told_and_no_error_of_ours(
    gateway: Gateway, engine: FakeEngine, collector: Collector
) -> None:
    """A 4xx has its code, from us or the engine; names that clients think up are not repeated."""
    await gateway.post("/v1/chat/completions", body(), {"Authorization": "Bearer sk-nobody"})
    request, calls = await collector.trace()
    assert request.attributes["error.type"] == "invalid_api_key"
    assert request.attributes["http.response.status_code"] == 401
    assert (request.is_error, calls) == (False, [])
    await gateway.chat(model="unknown")
    request, calls = await collector.trace()
    assert request.attributes["error.type"] == "model_not_found"
    assert "gen_ai.request.model" not in request.attributes

    engine.script = lambda _: Answer(status=400, pieces=[b"{}"])
    await gateway.chat()
    request, (call,) = await collector.trace()
    assert request.attributes["strop.status"] == "refused"
    assert {request.attributes["error.type"], call.attributes["error.type"]} == {"400"}
    assert (request.is_error, call.is_error) == (False, True)


async def test_a_bug_before_there_is_a_record_is_an_error(
    gateway: Gateway, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the client is told, and that it was our fault."""
    monkeypatch.setattr(Catalog, "principal_of", None)
    assert (await gateway.chat()).status == 500
    request, calls = await collector.trace()
    assert request.attributes["error.type"] == "internal_error"
    assert (request.is_error, calls) == (True, [])


async def test_failures_are_errors_with_each_call_that_was_made(
    gateway: Gateway, engine: FakeEngine, collector: Collector
) -> None:
    """An engine's 500; a stream that breaks, though its head said 200; one that nobody answers."""
    engine.script = lambda _: Answer(status=500)
    await gateway.chat()
    request, (call,) = await collector.trace()
    assert request.attributes["http.response.status_code"] == 502
    assert call.attributes["http.response.status_code"] == 500
    assert (request.is_error, call.is_error) == (True, True)

    engine.script = lambda received: streamed(received, ["a", "b"], gap=Fault.RESET)
    await gateway.chat(stream=True)
    request, (call,) = await collector.trace()
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["strop.status"] == "upstream_error"
    assert {request.attributes["error.type"], call.attributes["error.type"]} == {"engine_went_away"}
    assert (request.is_error, call.is_error) == (True, True)
    assert call.events == ["strop.first_token"]

    engine.script = lambda _: Answer(before_head=Fault.RESET)
    await gateway.chat()
    request, (call,) = await collector.trace()
    assert request.attributes["error.type"] == "no_engine"
    assert call.attributes["error.type"] == "engine_went_away"


async def test_a_second_attempt_is_a_second_call(
    tmp_path: Path, engine: FakeEngine, collector: Collector, database: Database
) -> None:
    """Both stand under the request, with their replicas; the request itself is well."""
    async with fake_engine() as other:
        settings = make_settings(tmp_path, engine, other, otlp_endpoint=collector.url)
        async with running_gateway(settings, database) as gateway:
            await is_well(gateway)
            first = []

            def fail_once(received: object) -> Answer:
                if first:
                    return Answer(pieces=[b"{}"])
                first.append(received)
                return Answer(before_head=Fault.RESET)

            engine.script = other.script = fail_once
            assert (await gateway.chat()).status == 200
            request, calls = await collector.trace()
    failed, answered = sorted(calls, key=lambda call: call.span.start_time_unix_nano)
    assert failed.attributes["error.type"] == "engine_went_away"
    assert "error.type" not in answered.attributes
    ports = {call.attributes["server.port"] for call in calls}
    assert ports == {engine.port, other.port}
    assert not request.is_error


async def test_a_client_that_leaves_ends_both_spans(
    gateway: Gateway, engine: FakeEngine, collector: Collector
) -> None:
    """The request says so and is no error; its call was given up."""
    engine.script = lambda received: streamed(received, ["a", "b"], gap=Fault.STALL)
    async with gateway.session.post(
        gateway.url + "/v1/chat/completions",
        data=body(stream=True),
        headers={"Authorization": f"Bearer {gateway.key}", "Content-Type": "application/json"},
    ) as response:
        await response.content.readany()
        response.close()
    request, (call,) = await collector.trace()
    assert request.attributes["strop.status"] == "client_aborted"
    assert call.attributes["error.type"] == "cancelled"
    assert (request.is_error, call.is_error) == (False, False)


async def test_no_span_holds_what_was_said(
    gateway: Gateway, engine: FakeEngine, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    """No prompt, answer, key or header, however a request ends: not one byte of the batches, and
    no line of whoever sends them.
    """
    caplog.set_level(logging.DEBUG)
    given = {
        "x-strop-conversation": CANARY,
        "user-agent": CANARY,
        "tracestate": f"vendor={CANARY}",
        "baggage": f"a={CANARY}",
        **TRACEPARENT,
    }
    async for _ in said_in_every_way(gateway, engine, given):
        await collector.trace()
        await is_well(gateway)
    sent = b"".join(collector.bodies)
    assert sent.count(bytes.fromhex(TRACE)) >= 9
    assert CANARY.encode() not in sent
    assert gateway.key.encode() not in sent
    told = "\n".join(JsonFormatter().format(record) for record in caplog.records)
    assert CANARY not in told
    assert gateway.key not in told
    assert all("tracestate" not in call.headers for call in engine.calls)


async def test_a_dead_collector_costs_nothing_and_is_told_once(
    gateway: Gateway, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    """Every request is answered; the log names it once, and once when it is back."""
    caplog.set_level(logging.INFO, "strop.gateway")

    def told(words: str) -> int:
        return sum(words in record.getMessage() for record in caplog.records)

    def lost() -> bool:
        text = gateway.runtime.metrics.render().decode()
        return 'strop_failures_total{where="tracing"}' in text

    collector.status = 400
    assert [(await gateway.chat()).status for _ in range(5)] == [200] * 5
    await until(lost)
    assert (await gateway.chat()).status == 200
    collector.status = 200
    await gateway.chat()
    await until(lambda: told("takes traces again") == 1)
    assert told("takes no traces") == 1


async def test_a_collector_that_never_answers_holds_up_neither_requests_nor_the_end(
    tmp_path: Path, engine: FakeEngine, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes connections and says nothing: answers come at once, and the gateway leaves."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        settings = make_settings(tmp_path, engine, otlp_endpoint=address)
        async with running_gateway(settings, database) as gateway:
            await is_well(gateway)
            async with asyncio.timeout(20):
                for _ in range(20):
                    assert (await gateway.chat()).status == 200
            began_at = time.monotonic()
        assert time.monotonic() - began_at < 30  # the exporter alone would wait for 60
