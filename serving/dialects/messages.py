"""/v1/messages, Anthropic's dialect, as it stands in the record: its stream put together, its
turns read as a chat's.
"""

import json
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

_TEXTS = ("text",)
_GROWING = ("text", "thinking", "signature", "partial_json")
_CALLS = ("tool_use",)
_THOUGHTS = ("thinking", "redacted_thinking")
_FINISH_REASONS = {"max_tokens": "length", "tool_use": "tool_calls"}


def assemble(events: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the message that the events amount to."""
    answer: dict[str, Any] = {}
    blocks: dict[int, dict[str, Any]] = {}
    for event in events:
        kind = event.get("type")
        if kind == "message_start":
            answer |= object_in(event, "message")
        elif kind == "message_delta":
            answer |= object_in(event, "delta")
            answer["usage"] = object_in(answer, "usage") | object_in(event, "usage")
        elif "error" in event:
            answer["error"] = event["error"]
        elif type(index := event.get("index")) is int:
            _fold(blocks.setdefault(index, {}), event)
    answer["content"] = [_finish(blocks[index]) for index in sorted(blocks)]
    return answer


def _fold(block: dict[str, Any], event: dict[str, Any]) -> None:
    block |= object_in(event, "content_block")
    delta = object_in(event, "delta")
    for field in _GROWING:
        append_text(block, field, delta.get(field))


def _finish(block: dict[str, Any]) -> dict[str, Any]:
    """Read the arguments that came as a text; those of a call that was cut stay one."""
    written = block.pop("partial_json", None)
    if isinstance(written, str):
        try:
            block["input"] = json.loads(written)
        except (ValueError, RecursionError):
            block["input"] = written
    return block


def request_as_chat(request: dict[str, Any]) -> dict[str, Any]:
    """Return the turns and tools of a request as a chat has them."""
    turns: list[dict[str, Any]] = []
    system = request.get("system")
    if isinstance(system, list):
        system = "".join(str(block.get("text") or "") for block in objects_in(request, "system"))
    if system:
        turns.append({"role": "system", "content": system})
    for message in objects_in(request, "messages"):
        turns += _turns(message)
    tools = [function_tool(tool, "input_schema") for tool in objects_in(request, "tools")]
    return {"messages": turns, "tools": tools}


def choice_of(answer: dict[str, Any]) -> dict[str, Any]:
    """Return what was answered as a chat's choice; empty where nothing was."""
    if not objects_in(answer, "content"):
        return {}
    stop_reason = answer.get("stop_reason")
    # An answer without a reason to stop was cut.
    reason = _FINISH_REASONS.get(str(stop_reason), "stop") if stop_reason else "length"
    turn = _turns({"role": "assistant", "content": answer["content"]})[-1]
    if isinstance(turn["content"], list):
        # What came before a call and what came after it.
        turn["content"] = "".join(str(part.get("text") or "") for part in turn["content"])
    return {"message": turn, "finish_reason": reason}


def _turns(message: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a message as turns: results of tools are turns of their own, before the rest."""
    content = message.get("content")
    if not isinstance(content, list):
        return [{"role": message.get("role"), "content": content}]
    blocks = objects_in(message, "content")
    turns = [_result(block) for block in blocks if block.get("type") == "tool_result"]
    calls = [_call(block) for block in blocks if block.get("type") in _CALLS]
    thoughts = [block.get("thinking") or "" for block in blocks if block.get("type") in _THOUGHTS]
    others = (*_CALLS, *_THOUGHTS, "tool_result")
    parts = [part for part in blocks if part.get("type") not in others]
    if not (turns and not parts):
        turn: dict[str, Any] = {"role": message.get("role")}
        turn["content"] = plain_content(parts, _TEXTS) if parts else None
        if any(thoughts):
            turn["reasoning"] = "".join(str(thought) for thought in thoughts)
        if calls:
            turn["tool_calls"] = calls
        turns.append(turn)
    return turns


def _call(block: dict[str, Any]) -> dict[str, Any]:
    return tool_call(block.get("id"), block.get("name"), block.get("input"))


def _result(block: dict[str, Any]) -> dict[str, Any]:
    content = plain_content(block.get("content"), _TEXTS)
    return {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": content}
