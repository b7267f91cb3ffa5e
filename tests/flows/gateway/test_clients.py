"""Clients that take nothing, leave, or ask oddly, with an engine behind the gateway."""

import asyncio
import socket
from pathlib import Path

import pytest

from serving.journal.writer import JournalWriter
from serving.sections import JournalSettings
from serving.store.database import Database
from serving.types import InferenceStatus
from tests.gateway import Gateway, chat_bytes, is_well, make_settings, running_gateway, until
from tests.upstream_server import Answer, FakeEngine, Fault

LONG = 32 * 2**20


def connect(gateway: Gateway) -> socket.socket:
    """Return a client's connection whose kernel keeps little."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", int(gateway.url.rpartition(":")[2])))
    return client


@pytest.mark.parametrize("is_streamed", [True, False])
async def test_a_client_that_takes_nothing_is_cut(
    tmp_path: Path, database: Database, engine: FakeEngine, is_streamed: bool
) -> None:
    """The record says so, the engine's call is closed, and the socket does not stay."""
    event = b"data: " + b"a" * 2**16 + b"\n\n"
    kind = "text/event-stream" if is_streamed else "application/json"
    pieces: list[bytes | float | Fault] = [event] * (LONG // len(event))
    engine.script = lambda _: Answer(headers={"content-type": kind}, pieces=pieces)
    settings = make_settings(tmp_path, engine, idle_seconds=1)
    async with running_gateway(settings, database) as gateway:
        await is_well(gateway)
        with connect(gateway) as client:
            client.sendall(chat_bytes(gateway.key, stream=is_streamed))
            await until(lambda: len(gateway.server.server_state.connections) == 1)
            (end,) = await gateway.ended(1)
            assert end.status is InferenceStatus.CLIENT_ABORTED
            await until(lambda: engine.num_hung_up == is_streamed)
            await until(lambda: not gateway.server.server_state.connections)


async def test_a_long_answer_arrives_whole(gateway: Gateway, engine: FakeEngine) -> None:
    """Whatever its length is a multiple of."""
    for length in (0, 1, 2**16 - 1, 2**16, 2**16 + 1, 2**20):
        content = b"a" * length
        engine.script = lambda _, content=content: Answer(pieces=[content] if content else [])
        response = await gateway.chat()
        assert response.headers["content-length"] == str(length)
        assert response.body == content


@pytest.mark.parametrize("is_streamed", [True, False])
async def test_a_request_sent_ahead_does_not_hide_that_the_client_hangs_up(
    gateway: Gateway, engine: FakeEngine, is_streamed: bool
) -> None:
    """The engine's call is closed, and the second request is never begun."""
    kind = "text/event-stream" if is_streamed else "application/json"
    engine.script = lambda _: Answer(
        headers={"content-type": kind}, pieces=[b"data: {}\n\n", Fault.STALL]
    )
    with connect(gateway) as client:
        client.sendall(2 * chat_bytes(gateway.key, stream=is_streamed))
        await until(lambda: len(engine.calls) == 1)
        await asyncio.sleep(0.05)
    await until(lambda: engine.num_hung_up == 1)
    (end,) = await gateway.ended(1)
    assert end.status is InferenceStatus.CLIENT_ABORTED


async def test_an_answer_without_a_body_has_no_length(gateway: Gateway) -> None:
    """204 says all there is."""
    url = gateway.url + "/v1/feedback"
    async with gateway.session.options(url, headers={"Origin": "http://a"}) as response:
        assert response.status == 204
        assert response.headers["access-control-allow-origin"] == "*"
        assert not {"content-length", "transfer-encoding"} & set(response.headers)


async def test_doubled_slashes_lead_nowhere(gateway: Gateway) -> None:
    """A proxy in front that guards /api must not be talked around."""
    for path in ("//v1/models", "/v1//models", "/%2fapi/status"):
        with connect(gateway) as client:
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(client, f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert (await loop.sock_recv(client, 4096)).startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize("is_streamed", [True, False])
async def test_with_power_an_answer_is_on_the_disk_before_its_last_bytes_leave(
    tmp_path: Path,
    database: Database,
    engine: FakeEngine,
    monkeypatch: pytest.MonkeyPatch,
    is_streamed: bool,
) -> None:
    """A client that has seen an answer's end can count on its record, power cut or not."""
    settings = make_settings(tmp_path, engine)
    power = settings.model_copy(update={"journal": JournalSettings(durability="power")})
    may_sync, flush, num_flushes = asyncio.Event(), JournalWriter.flush, 0

    async def flush_late(writer: JournalWriter) -> None:
        nonlocal num_flushes
        num_flushes += 1
        if num_flushes == 2:  # the first is that of Begin
            await may_sync.wait()
        await flush(writer)

    monkeypatch.setattr(JournalWriter, "flush", flush_late)
    async with running_gateway(power, database) as gateway:
        await is_well(gateway)
        task = asyncio.create_task(gateway.chat(stream=is_streamed))
        await until(lambda: num_flushes == 2)
        assert len(gateway.ends()) == 1
        assert not task.done()
        may_sync.set()
        response = await task
    assert response.status == 200
    assert response.body.endswith(b"data: [DONE]\n\n" if is_streamed else b"}")
