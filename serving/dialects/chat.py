"""Chats and completions as they stand in the record. The other dialects are read as chats.

Chunks are folded into one value: what grows piece by piece (`content`, `arguments`, `text`, lists
of log-probabilities) is joined, choices and tool calls are matched by their `index`, everything
else is replaced by what came last.
"""

from collections.abc import Iterable
from typing import Any

_JOINED = frozenset({"content", "reasoning_content", "reasoning", "refusal", "arguments", "text"})
_INDEXED = frozenset({"choices", "tool_calls"})


def assemble(chunks: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the answer that the chunks amount to; an `error` stands beside what came before it."""
    answer: dict[str, Any] = {}
    for chunk in chunks:
        if "choices" in chunk or "error" in chunk:
            _merge(answer, chunk)
    return _finish(answer)


def request_as_chat(request: dict[str, Any]) -> dict[str, Any]:
    """Return the request itself."""
    return request


def choice_of(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the first choice; empty where there is none."""
    choices = answer.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else {}


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
