"""Looking into JSON that may have any shape, and writing what every dialect calls the same."""

import json
from typing import Any


def object_in(value: Any, key: str) -> dict[str, Any]:
    """Return the object under a key; empty where there is none."""
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def objects_in(value: Any, key: str) -> list[dict[str, Any]]:
    """Return the objects of the array under a key."""
    found = value.get(key) if isinstance(value, dict) else None
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def append_text(whole: dict[str, Any], key: str, piece: Any) -> None:
    """Let a text grow by a piece of it."""
    if isinstance(piece, str):
        old = whole.get(key)
        whole[key] = old + piece if isinstance(old, str) else piece


def plain_content(parts: Any, text_kinds: tuple[str, ...]) -> Any:
    """Return a turn's content as a chat has it: one part of text alone is a text.

    Parts that are no text stay as they are: whoever wants text only sees that there is more.
    """
    if not isinstance(parts, list):
        return parts
    found = [_as_text_part(part, text_kinds) for part in parts]
    is_one_text = len(found) == 1 and isinstance(found[0], dict) and found[0].get("type") == "text"
    return found[0].get("text") if is_one_text else found


def _as_text_part(part: Any, text_kinds: tuple[str, ...]) -> Any:
    if isinstance(part, dict) and part.get("type") in text_kinds:
        return {"type": "text", "text": part.get("text")}
    return part


def tool_call(call_id: Any, name: Any, arguments: Any) -> dict[str, Any]:
    """Return a chat's tool call; arguments that are no text yet are written as JSON."""
    written = arguments if isinstance(arguments, str) else json.dumps(arguments)
    function = {"name": name, "arguments": written}
    return {"id": call_id, "type": "function", "function": function}


def function_tool(tool: dict[str, Any], parameters: str) -> dict[str, Any]:
    """Return a chat's tool; `parameters` names the key under which its schema stands."""
    function = {"name": tool.get("name")}
    if tool.get("description") is not None:
        function["description"] = tool["description"]
    function["parameters"] = tool.get(parameters)
    return {"type": "function", "function": function}
