"""A stream of server-sent events, put together into the answer that a client without streaming
would have got. Pure, and content with a stream that was cut anywhere.

A stream says by its events which dialect it is in: its end may be ingested before its beginning is,
and with it the name of the endpoint.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

import msgspec

from serving.dialects import chat, messages, responses

_INT4_MAX = 2**31 - 1


class Usage(msgspec.Struct, frozen=True):
    """Tokens as the engine counted them; None where it did not say."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


def assemble(stream: bytes) -> dict[str, Any] | None:
    """Return the answer that a stream's events amount to.

    An `error` event of the engine is kept beside what came before it.

    Returns:
        None where there is nothing to put together.
    """
    events = filter(_is_object, map(_parse, split_events(stream)))
    for event in events:
        if put_together := _dialect_of(event):
            return put_together(chain([event], events)) or None
    return None


def split_events(stream: bytes) -> Iterator[bytes]:
    """Yield the data of each event; the last one counts without its blank line, too.

    Lines end with LF, CRLF or CR and with nothing else: text may hold U+2028 and its like.
    """
    data: list[bytes] = []
    lines = stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    for line in [*lines, b""]:
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif not line and data:
            yield b"\n".join(data)
            data = []


def usage_of(answer: Any) -> Usage:
    """Read an answer's `usage` in any dialect; counts that no column could hold count as not said."""
    usage = answer.get("usage") if isinstance(answer, dict) else None
    if not isinstance(usage, dict):
        return Usage()
    if "input_tokens" not in usage:
        return Usage(_count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")))
    # Anthropic counts what came from the cache, or went there, beside the rest of the prompt.
    cached = (usage.get("cache_read_input_tokens"), usage.get("cache_creation_input_tokens"))
    prompt_tokens = _count(usage["input_tokens"])
    if prompt_tokens is not None:
        prompt_tokens = _count(prompt_tokens + sum(_count(tokens) or 0 for tokens in cached))
    return Usage(prompt_tokens, _count(usage.get("output_tokens")))


def _dialect_of(
    event: dict[str, Any],
) -> Callable[[Iterable[dict[str, Any]]], dict[str, Any]] | None:
    kind = str(event.get("type"))
    if kind.startswith("response."):
        return responses.assemble
    if kind == "message_start":
        return messages.assemble
    return chat.assemble if "choices" in event or "error" in event else None


def _is_object(found: Any) -> bool:
    return isinstance(found, dict)


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= _INT4_MAX else None


def _parse(data: bytes) -> Any:
    try:
        return json.loads(data.decode())
    except (ValueError, RecursionError):  # [DONE], or an event cut in the middle
        return None
