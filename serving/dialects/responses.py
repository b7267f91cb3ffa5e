"""/v1/responses as it stands in the record: its stream put together, its turns read as a chat's.

A stream repeats itself: deltas, then the finished part, item and response. The finished ones count;
the deltas are there for a stream that was cut before.
"""

from collections.abc import Iterable
from typing import Any

from serving.dialects.shapes import (
    append_text,
    function_tool,
    object_in,
    objects_in,
    plain_content,
    tool_call,
)

_LAST = ("response.completed", "response.incomplete", "response.failed")
_TEXTS = ("input_text", "output_text", "text")
# Event -> the kind of item that its deltas make, and the field of the item or its part that grows.
_DELTAS = {
    "response.output_text.delta": ("message", "output_text", "text"),
    "response.refusal.delta": ("message", "refusal", "refusal"),
    "response.reasoning_text.delta": ("reasoning", "reasoning_text", "text"),
    "response.function_call_arguments.delta": ("function_call", None, "arguments"),
}


def assemble(events: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the response that the events amount to."""
    answer: dict[str, Any] = {}
    items: dict[int, dict[str, Any]] = {}
    for event in events:
        kind = event.get("type")
        if kind in _LAST and object_in(event, "response"):
            return object_in(event, "response")
        if kind == "error" or "error" in event:
            answer["error"] = event.get("error") or event
        elif object_in(event, "response"):
            answer |= object_in(event, "response")
        elif type(index := event.get("output_index")) is int:
            _fold(items, index, event)
    if items:
        answer["output"] = [items[index] for index in sorted(items)]
    return answer


def _fold(items: dict[int, dict[str, Any]], index: int, event: dict[str, Any]) -> None:
    if found := object_in(event, "item"):
        items[index] = found
    elif known := _DELTAS.get(str(event.get("type"))):
        item_kind, part_kind, field = known
        item = items.setdefault(index, {"type": item_kind})
        grown = item if part_kind is None else _part(item, event.get("content_index"), part_kind)
        append_text(grown, field, event.get("delta"))


def _part(item: dict[str, Any], index: Any, kind: str) -> dict[str, Any]:
    """Return the part that grows: the one of this number, a new last one if it is not there."""
    parts = item["content"] = objects_in(item, "content")
    if type(index) is int and 0 <= index < len(parts):
        return parts[index]
    parts.append({"type": kind})
    return parts[-1]


def request_as_chat(request: dict[str, Any]) -> dict[str, Any]:
    """Return the turns and tools of a request as a chat has them."""
    turns = []
    if isinstance(instructions := request.get("instructions"), str) and instructions:
        turns.append({"role": "system", "content": instructions})
    given = request.get("input")
    if isinstance(given, str):
        turns.append({"role": "user", "content": given})
    else:
        turns += _turns(objects_in(request, "input"))
    tools = [function_tool(tool, "parameters") for tool in objects_in(request, "tools")]
    return {"messages": turns, "tools": tools}


def choice_of(answer: dict[str, Any]) -> dict[str, Any]:
    """Return what was answered as a chat's choice; empty where nothing was."""
    turns = _turns(objects_in(answer, "output"))
    if not turns:
        return {}
    is_whole = answer.get("status") == "completed" and len(turns) == 1
    return {"message": turns[0], "finish_reason": "stop" if is_whole else "length"}


def _turns(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return turns; what an assistant thought, said and called in a row is one, as engines see it."""
    turns: list[dict[str, Any]] = []
    for item in items:
        turn = _turn(item)
        last = turns[-1] if turns else {}
        if turn["role"] == last.get("role") == "assistant" and _joins(last, turn):
            calls = [*last.get("tool_calls", []), *turn.get("tool_calls", [])]
            last |= turn | ({"tool_calls": calls} if calls else {})
        else:
            turns.append(turn)
    return turns


def _joins(last: dict[str, Any], turn: dict[str, Any]) -> bool:
    return last.keys().isdisjoint(turn.keys() - {"role", "tool_calls"})


def _turn(item: dict[str, Any]) -> dict[str, Any]:
    kind = item.get("type", "message")
    if kind == "function_call":
        call = tool_call(item.get("call_id"), item.get("name"), item.get("arguments"))
        return {"role": "assistant", "tool_calls": [call]}
    if kind == "function_call_output":
        content = plain_content(item.get("output"), _TEXTS)
        return {"role": "tool", "tool_call_id": item.get("call_id"), "content": content}
    if kind == "reasoning":
        parts = objects_in(item, "content") or objects_in(item, "summary")
        return {"role": "assistant", "reasoning": parts[0].get("text") if parts else None}
    role = item.get("role", "assistant")
    return {"role": role, "content": plain_content(item.get("content"), _TEXTS)}
