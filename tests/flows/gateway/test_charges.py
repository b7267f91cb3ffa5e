"""What a request is charged with: tokens as the engine counts them, or as many as came."""

import json
from itertools import chain
from typing import Any

import pytest

from serving.store.database import Database
from serving.types import InferenceStatus
from tests.gateway import (
    MESSAGES,
    Gateway,
    make_limited,
)
from tests.upstream_server import (
    Answer,
    FakeEngine,
    Received,
    answer_like_vllm,
    events,
)

SSE = {"content-type": "text/event-stream"}


async def test_tokens_are_settled_with_what_the_engine_says(
    gateway: Gateway, database: Database
) -> None:
    """Reserved: prompt and max_tokens. Used: what `usage` says, streamed or not."""
    await make_limited(gateway, database, tpm=1000)
    first = await gateway.chat(max_tokens=900)
    assert first.status == 200
    assert int(first.headers["x-ratelimit-remaining-tokens"]) < 100
    used = first.json["usage"]["prompt_tokens"] + first.json["usage"]["completion_tokens"]
    for is_streamed in (True, False):
        again = await gateway.chat(max_tokens=900, stream=is_streamed)
        assert again.status == 200
        assert int(again.headers["x-ratelimit-remaining-tokens"]) > 0
    assert used < 50


@pytest.mark.parametrize("num_at_once", [1, 300])
async def test_a_client_that_hangs_up_pays_for_what_came(
    gateway: Gateway, database: Database, engine: FakeEngine, num_at_once: int
) -> None:
    """Prompt and events so far: leaving before the usage is no way around a quota.

    However many came at once, as they do for who reads slowly.
    """

    def in_lumps(received: Received) -> Answer:
        pieces = events(received, ["a "] * 350)
        lump = b"".join(pieces[:num_at_once])
        gaps = ((piece, 0.02) for piece in pieces[num_at_once:])
        return Answer(headers=SSE, pieces=[lump, 0.02, *chain.from_iterable(gaps)])

    await make_limited(gateway, database, tpm=1000)
    engine.script = in_lumps
    body = {"model": "base", "messages": MESSAGES, "stream": True, "user": "x" * 500}
    await look_and_leave(gateway, body)
    assert 100 < await taken_of(gateway, engine, 1000) - num_at_once < 250


async def test_a_client_that_takes_half_of_a_whole_answer_pays_for_it(
    gateway: Gateway, database: Database, engine: FakeEngine
) -> None:
    """The engine has made all of it, and has said what it took."""
    words = b'{"usage":{"prompt_tokens":500,"completion_tokens":300},"choices":"%b"}'
    engine.script = lambda _: Answer(pieces=[words % (b"a" * 2**24)])
    await make_limited(gateway, database, tpm=1000)
    await look_and_leave(gateway, {"model": "base", "messages": MESSAGES})
    (end,) = await gateway.ended(1)
    assert end.status is InferenceStatus.CLIENT_ABORTED
    assert 800 <= await taken_of(gateway, engine, 1000) < 900


async def look_and_leave(gateway: Gateway, body: dict[str, Any]) -> None:
    """Hang up when the first bytes of an answer are here."""
    headers = {"Authorization": f"Bearer {gateway.key}"}
    async with gateway.session.post(
        gateway.url + "/v1/chat/completions", json=body, headers=headers
    ) as response:
        await response.content.readany()
        response.close()
    await gateway.ended(1)


async def taken_of(gateway: Gateway, engine: FakeEngine, tpm: int) -> int:
    """Return how many tokens of a minute are used."""
    engine.script = answer_like_vllm
    again = await gateway.chat(max_tokens=1)
    return tpm - int(again.headers["x-ratelimit-remaining-tokens"])


async def test_an_answer_without_usage_is_estimated(
    gateway: Gateway, database: Database, engine: FakeEngine
) -> None:
    """By its bytes: an engine that does not count is no way around a quota."""
    await make_limited(gateway, database, tpm=10_000)
    for usage in (b"", b',"usage":{"prompt_tokens":"many"}', b',"usage":7'):
        words = b'{"choices":[{"message":{"content":"%b"}}]%b}' % (b"a" * 4000, usage)
        engine.script = lambda _, words=words: Answer(pieces=[words])
        assert (await gateway.chat()).body == words
    again = await gateway.chat(max_tokens=1)
    assert 3000 < 10_000 - int(again.headers["x-ratelimit-remaining-tokens"]) < 3500


async def test_counting_tokens_uses_none(gateway: Gateway, database: Database) -> None:
    """It is no inference: nothing is generated, nothing recorded, nothing charged."""
    await make_limited(gateway, database, tpm=1000)
    body = json.dumps({"model": "base", "messages": MESSAGES, "system": "x" * 3200}).encode()
    for _ in range(3):
        assert (await gateway.post("/v1/messages/count_tokens", body)).status == 200
    again = await gateway.chat(max_tokens=1)
    assert 1000 - int(again.headers["x-ratelimit-remaining-tokens"]) < 200
