"""Put an evaluation set's prompts to an engine, many at a time, under a name no client can call."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import httpx
import msgspec

from retrain.examples import Example, Message, with_system
from serving.errors import EngineError

CONCURRENCY = 16
MAX_TOKENS = 256
_SECONDS = 120.0


class Asker(Protocol):
    """Something that answers prompts: an engine, or its twin in tests."""

    async def answer(self, model: str, turns: Sequence[Message], tools: Sequence[Any]) -> str:
        """Return the model's answer, decoded greedily.

        Raises:
            EngineError: there is none.
        """
        ...


class EngineAsker:
    """Asks one engine over HTTP, past the gateway: no client can call a candidate."""

    def __init__(self, client: httpx.AsyncClient, url: str) -> None:
        self._client = client
        self._url = url

    async def answer(self, model: str, turns: Sequence[Message], tools: Sequence[Any]) -> str:
        """Return the model's answer, decoded greedily; tool calls as their JSON."""
        body = {
            "model": model,
            "messages": msgspec.to_builtins(list(turns)),
            "temperature": 0,
            "max_tokens": MAX_TOKENS,
            **({"tools": list(tools)} if tools else {}),
        }
        try:
            reply = await self._client.post(
                f"{self._url}/v1/chat/completions", json=body, timeout=_SECONDS
            )
            reply.raise_for_status()
        except httpx.HTTPError as error:
            raise EngineError(
                f"The engine at {self._url} did not answer an evaluation item: {error!r}."
            ) from error
        message = reply.json()["choices"][0]["message"]
        if message.get("content") is not None:
            return str(message["content"])
        return msgspec.json.encode(message.get("tool_calls")).decode()


async def ask_all(
    askers: Sequence[Asker],
    model: str,
    items: Sequence[Example],
    system_prompt: str | None,
    on_answer: Callable[[], None] = lambda: None,
) -> list[str]:
    """Return the answer to each item, in order; the items are dealt over the replicas.

    Raises:
        EngineError: one was not answered. No half evaluation is a result.
    """
    free = asyncio.Semaphore(CONCURRENCY * len(askers))

    async def ask(number: int, item: Example) -> str:
        async with free:
            turns = with_system(item.prompt, system_prompt)
            answer = await askers[number % len(askers)].answer(model, turns, item.tools)
        on_answer()
        return answer

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ask(at, item)) for at, item in enumerate(items)]
    except* EngineError as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]
