"""Streams that break off or fall silent, in each dialect: what the client and the record see."""

import json
from pathlib import Path
from typing import Any

import pytest

from serving.store.database import Database
from serving.types import InferenceStatus
from tests.gateway import MESSAGES, Gateway, is_well, make_settings, running_gateway
from tests.upstream_server import Answer, FakeEngine, Fault, streamed

PIECE = b'event: some.piece\ndata: {"type":"some.piece"}\n\n'
DIALECTS = [
    ("/v1/chat/completions", {"messages": MESSAGES}, b"data: "),
    ("/v1/completions", {"prompt": "a"}, b"data: "),
    ("/v1/responses", {"input": "a"}, b"event: error\ndata: "),
    ("/v1/messages", {"messages": MESSAGES, "max_tokens": 9}, b"event: error\ndata: "),
]


def broken_off(fault: Fault) -> Answer:
    """Return a stream that ends after a piece."""
    return Answer(headers={"content-type": "text/event-stream"}, pieces=[PIECE, 0.05, fault])


async def ask(gateway: Gateway, path: str, body: dict[str, Any]) -> list[bytes]:
    """Ask for a stream; return its events."""
    raw = json.dumps({"model": "base", "stream": True, **body}).encode()
    answer = await gateway.post(path, raw)
    assert answer.status == 200
    assert answer.body.endswith(b"\n\n")
    return [event + b"\n\n" for event in answer.body.split(b"\n\n")[:-1]]


@pytest.mark.parametrize(("path", "body", "begins"), DIALECTS)
async def test_a_stream_cut_short_ends_with_its_dialects_error(
    gateway: Gateway, engine: FakeEngine, path: str, body: dict[str, Any], begins: bytes
) -> None:
    """What came is passed on; then the error as that dialect's clients raise it, and no end."""
    engine.script = lambda _: broken_off(Fault.RESET)
    first, error = await ask(gateway, path, body)
    assert first == PIECE
    assert error.startswith(begins)
    said = json.loads(error.removeprefix(begins))
    if path == "/v1/messages":
        assert (said["type"], said["error"]["type"]) == ("error", "api_error")
    else:
        assert said["error"]["code"] == "engine_went_away"
    (end,) = await gateway.ended(1)
    assert end.status is InferenceStatus.UPSTREAM_ERROR
    assert end.response == PIECE


async def test_a_stream_cut_within_its_first_event_is_recorded_as_a_stream(
    gateway: Gateway, engine: FakeEngine
) -> None:
    """What came of it is no text of an answer."""
    half = Answer(headers={"content-type": "text/event-stream"}, pieces=[PIECE[:9], Fault.RESET])
    engine.script = lambda _: half
    await ask(gateway, *DIALECTS[0][:2])
    (end,) = await gateway.ended(1)
    assert (end.is_sse, end.response) == (True, PIECE[:9])


async def test_a_silent_stream_is_kept_awake_if_configured(
    tmp_path: Path, database: Database, engine: FakeEngine
) -> None:
    """Comments between whole events; the answer is the same, and the record has none of them."""
    settings = make_settings(tmp_path, engine, ping_seconds=0.1)
    async with running_gateway(settings, database) as gateway:
        await is_well(gateway)
        engine.script = lambda received: streamed(received, ["a", "b"], gap=0.5)
        events = await ask(gateway, *DIALECTS[0][:2])
        said = [event for event in events if event != b": ping\n\n"]
        assert len(said) == 3
        assert said[-1] == b"data: [DONE]\n\n"
        assert len(events) - len(said) >= 3
        (end,) = await gateway.ended(1)
        assert b"ping" not in end.response
        assert end.status is InferenceStatus.OK


async def test_by_default_nobody_pings(gateway: Gateway, engine: FakeEngine) -> None:
    """The engine's bytes and nothing else."""
    engine.script = lambda received: streamed(received, ["a", "b"], gap=0.3)
    assert len(await ask(gateway, *DIALECTS[0][:2])) == 3
