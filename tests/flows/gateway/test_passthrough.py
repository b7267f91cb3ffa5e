"""Answers pass through the whole gateway byte by byte, however engine and network cut them."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contracts.dialect_streams import NAMES, endpoint_of, stream_of
from tests.gateway import MESSAGES, Answered, Gateway
from tests.scale import examples
from tests.unit.gateway.test_events import DONE, LINE_ENDS, USAGE, bodies, cut
from tests.upstream_server import Answer, FakeEngine, Fault

pytestmark = pytest.mark.timeout(3600)  # the full counts

# The gateway is one for all examples; its engine is told anew what to say for each.
through_the_gateway = settings(
    max_examples=examples(25, full=500),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
CHAT = "/v1/chat/completions"
REQUESTS: dict[str, dict[str, Any]] = {
    CHAT: {"messages": MESSAGES},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": 9},
    "/v1/responses": {"input": "Where is my parcel?"},
}
PAUSE_SECONDS = 0.001
"""Long enough for what was sent before to be read alone."""

cuts = st.lists(st.integers(0, 20_000), max_size=12)
pauses = st.sets(st.integers(0, 12), max_size=5)


def answer(
    content: bytes, cuts: list[int], pauses: set[int], *, kind: str, is_chunked: bool
) -> Answer:
    """Say the content in pieces, with a pause after some of them."""
    pieces: list[bytes | float | Fault] = []
    for number, piece in enumerate(filter(None, cut(content, cuts))):
        pieces += [piece, PAUSE_SECONDS] if number in pauses else [piece]
    return Answer(headers={"content-type": kind}, pieces=pieces, is_chunked=is_chunked)


async def ask(gateway: Gateway, path: str, **fields: Any) -> Answered:
    """Ask the base for something."""
    body = {"model": "base", **REQUESTS[path], **fields}
    return await gateway.post(path, json.dumps(body).encode())


def recorded(gateway: Gateway, answered: Answered) -> bytes:
    """Return what the journal has as the engine's answer."""
    inference_id = answered.headers["x-strop-inference-id"]
    (response,) = (end.response for end in gateway.ends() if end.id == inference_id)
    return response


@through_the_gateway
@given(bodies, LINE_ENDS, cuts, pauses, st.integers(0, 6), st.booleans(), st.booleans())
async def test_a_chats_stream_is_the_engines_less_what_nobody_asked_for(
    gateway: Gateway,
    engine: FakeEngine,
    events: list[list[bytes]],
    end: bytes,
    cuts: list[int],
    pauses: set[int],
    place: int,
    asks_usage: bool,
    is_chunked: bool,
) -> None:
    """Comments, any line ends, many bytes to a letter: the client's bytes and the record's are
    the engine's; the usage event goes on to those that asked.
    """
    whole = [end.join(lines) + end + end for lines in events]
    usage = USAGE + end + end
    said = b"".join([*whole[:place], usage, *whole[place:], DONE + end + end])
    engine.script = lambda _: answer(
        said, cuts, pauses, kind="text/event-stream", is_chunked=is_chunked
    )
    options = {"stream_options": {"include_usage": True}} if asks_usage else {}
    answered = await ask(gateway, CHAT, stream=True, **options)
    assert answered.status == 200
    assert answered.body == (said if asks_usage else said.replace(usage, b"", 1))
    assert recorded(gateway, answered) == said


@through_the_gateway
@given(st.sampled_from(NAMES), LINE_ENDS, cuts, pauses)
async def test_the_streams_of_other_dialects_are_the_engines(
    gateway: Gateway, engine: FakeEngine, name: str, end: bytes, cuts: list[int], pauses: set[int]
) -> None:
    """As vLLM's own serializers wrote them, and with other line ends."""
    said = stream_of(name).replace(b"\n", end)
    engine.script = lambda _: answer(said, cuts, pauses, kind="text/event-stream", is_chunked=True)
    answered = await ask(gateway, endpoint_of(name).path, stream=True)
    assert (answered.status, answered.body) == (200, said)
    assert recorded(gateway, answered) == said


@through_the_gateway
@given(st.binary(max_size=300), cuts, pauses, st.booleans())
async def test_an_answer_in_one_piece_is_the_engines(
    gateway: Gateway,
    engine: FakeEngine,
    content: bytes,
    cuts: list[int],
    pauses: set[int],
    is_chunked: bool,
) -> None:
    """Whatever bytes they are."""
    engine.script = lambda _: answer(
        content, cuts, pauses, kind="application/json", is_chunked=is_chunked
    )
    answered = await ask(gateway, CHAT)
    assert (answered.status, answered.body) == (200, content)
    assert recorded(gateway, answered) == content
