"""Clients that call without pause and write down what they got."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

_NO_DEADLINE = aiohttp.ClientTimeout(total=None, sock_read=180)


@dataclass(slots=True)
class Outcome:
    """What one request came to, as its client saw it."""

    begun_at: float = field(default_factory=time.monotonic)
    status: int = 0
    inference_id: str | None = None
    promised: str | None = None
    """The adapter that `x-strop-adapter` says."""
    models: set[str] = field(default_factory=set)
    """The `model` that the engine wrote into each piece of its answer."""
    retry_after: str | None = None
    is_complete: bool = False
    error: str | None = None

    @property
    def is_ok(self) -> bool:
        """Whether the whole answer came."""
        return self.status == 200 and self.is_complete and self.error is None

    @property
    def is_from_another_model(self) -> bool:
        """Whether any piece came from another adapter than the header says."""
        return bool(self.models - {self.promised})


async def stream_once(
    session: aiohttp.ClientSession, url: str, model: str, prompt: str, max_tokens: int = 24
) -> Outcome:
    """Make one streamed chat request."""
    outcome = Outcome()
    body = {
        "model": model,
        "stream": True,
        "max_tokens": max_tokens,
        "messages": [{"role": "user", "content": prompt}],
    }
    try:
        async with session.post(f"{url}/v1/chat/completions", json=body) as answer:
            outcome.status = answer.status
            outcome.inference_id = answer.headers.get("x-strop-inference-id")
            outcome.promised = answer.headers.get("x-strop-adapter")
            outcome.retry_after = answer.headers.get("retry-after")
            if answer.status != 200:
                outcome.error = (await answer.text())[:300]
                return outcome
            async for line in answer.content:
                _read(line, outcome)
    except (aiohttp.ClientError, TimeoutError) as error:
        outcome.error = repr(error)
    return outcome


def _read(line: bytes, outcome: Outcome) -> None:
    if not line.startswith(b"data: "):
        return
    if line.strip() == b"data: [DONE]":
        outcome.is_complete = True
        return
    event = json.loads(line[6:])
    if "error" in event:
        outcome.error = event["error"]["message"]
    else:
        outcome.models.add(event["model"])


@asynccontextmanager
async def clients(
    count: int, url: str, key: str, model: str, *, max_tokens: int = 24, pause: float = 0
) -> AsyncIterator[list[Outcome]]:
    """Keep `count` clients streaming without pause; yield the list that their outcomes join."""
    outcomes: list[Outcome] = []
    is_over = asyncio.Event()

    async def call_on(number: int) -> None:
        while not is_over.is_set():
            prompt = f"My order number {number * 1000 + len(outcomes)} has not arrived."
            outcomes.append(await stream_once(session, url, model, prompt, max_tokens))
            await asyncio.sleep(pause)

    headers = {"Authorization": f"Bearer {key}"}
    async with (
        aiohttp.ClientSession(headers=headers, timeout=_NO_DEADLINE) as session,
        asyncio.TaskGroup() as group,
    ):
        for number in range(count):
            group.create_task(call_on(number))
        try:
            yield outcomes
        finally:
            is_over.set()
