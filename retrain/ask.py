"""Put an evaluation set's prompts to an engine, many at a time, under a name no client can call."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import msgspec

from retrain.examples import Example, Message, text_of, with_system
from serving.errors import EngineError, InvalidRequestError

CONCURRENCY = 16
_SECONDS = 120.0
_SHORTEST_TOKENS = 16
# A token is a byte at least; and an answer of twice the length is wrong, however it goes on.
_TOKENS_PER_BYTE = 2
_REFUSED_ITEM = (400, 413, 422)


class EngineAsker:
    """Asks one engine over HTTP, past the gateway: no client can call a candidate."""

    def __init__(
        self, client: httpx.AsyncClient, url: str, context_tokens: int | None = None
    ) -> None:
        """`context_tokens`: of the engine, which refuses to be asked for a longer answer."""
        self._client = client
        self._url = url
        self._context_tokens = context_tokens

    async def answer(self, model: str, item: Example, system_prompt: str | None) -> str:
        """Return the model's answer, decoded greedily; tool calls as their JSON.

        Raises:
            InvalidRequestError: the engine takes no such item, a too long one for example.
            EngineError: there is no answer now.
        """
        reply = await self._post(_body(model, item, system_prompt, self._context_tokens))
        if reply.status_code in _REFUSED_ITEM:
            raise InvalidRequestError(f"The engine at {self._url} refuses an item: {reply.text}")
        try:
            reply.raise_for_status()
            found = msgspec.json.decode(reply.content, type=_Reply).choices[0].message
        except (httpx.HTTPError, msgspec.MsgspecError, IndexError) as error:
            raise self._failure(error) from error
        return text_of(Message("assistant", found.content, found.tool_calls))

    async def _post(self, body: bytes) -> httpx.Response:
        url, headers = f"{self._url}/v1/chat/completions", {"content-type": "application/json"}
        try:
            return await self._client.post(url, content=body, headers=headers, timeout=_SECONDS)
        except httpx.HTTPError as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> EngineError:
        return EngineError(f"The engine at {self._url} did not answer an item: {error!r}.")


class _Answer(msgspec.Struct, frozen=True):
    content: str | None = None
    tool_calls: list[Any] | None = None


class _Choice(msgspec.Struct, frozen=True):
    message: _Answer


class _Reply(msgspec.Struct, frozen=True):
    choices: list[_Choice]


async def ask_all(
    askers: Sequence[EngineAsker],
    model: str,
    items: Sequence[Example],
    system_prompt: str | None,
    on_answer: Callable[[], None] = lambda: None,
) -> list[str | None]:
    """Return the answer to each item, in order; the items are dealt over the replicas.

    Returns:
        None for an item that the engine does not take: no answer, and so a wrong one.

    Raises:
        EngineError: one was not answered. No half evaluation is a result.
        InvalidRequestError: the engine takes none of them.
    """
    free = asyncio.Semaphore(CONCURRENCY * len(askers))
    refusals: list[InvalidRequestError] = []
    failed: list[BaseException] = []
    tasks: list[asyncio.Task[str | None]] = []

    async def ask(number: int, item: Example) -> str | None:
        async with free:
            try:
                return await askers[number % len(askers)].answer(model, item, system_prompt)
            except InvalidRequestError as refusal:
                refusals.append(refusal)
                return None
            finally:
                on_answer()

    try:
        async with asyncio.TaskGroup() as group:
            tasks += [group.create_task(ask(at, item)) for at, item in enumerate(items)]
    except* EngineError as failures:
        failed.extend(failures.exceptions)
    # Not raised above: some Pythons put what an `except*` raises into a group again.
    if failed:
        raise failed[0]
    if refusals and len(refusals) == len(items):
        raise refusals[0]
    return [task.result() for task in tasks]


def _body(
    model: str, item: Example, system_prompt: str | None, context_tokens: int | None
) -> bytes:
    room = _SHORTEST_TOKENS + _TOKENS_PER_BYTE * len(item.answer_text.encode())
    body = {
        "model": model,
        "messages": with_system(item.prompt, system_prompt),
        "temperature": 0,
        "max_tokens": room if context_tokens is None else min(room, context_tokens),
        **({"tools": item.tools} if item.tools else {}),
    }
    return msgspec.json.encode(body)
