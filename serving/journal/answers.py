"""A stream of server-sent events, put together into the answer that a client without streaming
would have got. Pure, and content with a stream that was cut anywhere.

Chunks are folded into one value: what grows piece by piece (`content`, `arguments`, `text`, lists
of log-probabilities) is joined, choices and tool calls are matched by their `index`, everything
else is replaced by what came last.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_JOINED = frozenset({"content", "reasoning_content", "reasoning", "refusal", "arguments", "text"})
_INDEXED = frozenset({"choices", "tool_calls"})
_INT4_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the engine counted them; None where it did not say."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


def assemble(stream: bytes) -> dict[str, Any] | None:
    """Return the answer that the events of /v1/chat/completions or /v1/completions amount to.

    An `error` event of the engine is kept beside what came before it.

    Returns:
        None where there is no chunk to put together.
    """
    answer: dict[str, Any] = {}
    for data in split_events(stream):
        chunk = _parse(data)
        if isinstance(chunk, dict) and ("choices" in chunk or "error" in chunk):
            _merge(answer, chunk)
    return _finish(answer) if answer else None


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
    """Read an answer's `usage`; counts that no column could hold count as not said."""
    usage = answer.get("usage") if isinstance(answer, dict) else None
    if not isinstance(usage, dict):
        return Usage()
    return Usage(_count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")))


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= _INT4_MAX else None


def _parse(data: bytes) -> Any:
    try:
        return json.loads(data.decode())
    except (ValueError, RecursionError):  # [DONE], or an event cut in the middle
        return None


def _merge(whole: dict[str, Any], piece: dict[str, Any]) -> None:
    for key, new in piece.items():
        old = whole.get(key)
        if isinstance(new, str):
            whole[key] = old + new if key in _JOINED and isinstance(old, str) else new
        elif isinstance(new, dict):
            whole[key] = _merged(old if isinstance(old, dict) else {}, new)
        elif isinstance(new, list):
            items = old if isinstance(old, list) else []
            whole[key] = _merge_indexed(items, new) if key in _INDEXED else [*items, *new]
        elif new is not None or key not in whole:
            whole[key] = new


def _merged(whole: dict[str, Any], piece: dict[str, Any]) -> dict[str, Any]:
    _merge(whole, piece)
    return whole


def _merge_indexed(items: list[Any], pieces: list[Any]) -> list[Any]:
    for piece in pieces:
        if not isinstance(piece, dict):
            continue
        index = piece.get("index", 0)
        found = next((item for item in items if item["index"] == index), None)
        if found is None:
            found = {"index": index}
            items.append(found)
        _merge(found, piece)
    return items


def _finish(answer: dict[str, Any]) -> dict[str, Any]:
    if isinstance(kind := answer.get("object"), str):
        answer["object"] = kind.removesuffix(".chunk")
    choices = answer.get("choices")
    if isinstance(choices, list):
        choices.sort(key=lambda choice: _sort_key(choice["index"]))
        answer["choices"] = [_finish_choice(choice) for choice in choices]
    return answer


def _finish_choice(choice: dict[str, Any]) -> dict[str, Any]:
    message = choice.pop("delta", None)
    if not isinstance(message, dict):
        return choice
    message.setdefault("role", "assistant")
    message.setdefault("content", None)
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        calls.sort(key=lambda call: _sort_key(call["index"]))
        # Only the deltas number their calls; an answer lists them.
        message["tool_calls"] = [_without_index(call) for call in calls]
    return {"index": choice["index"], "message": message, **choice}


def _without_index(call: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in call.items() if key != "index"}


def _sort_key(index: Any) -> int:
    return index if isinstance(index, int) else 0
