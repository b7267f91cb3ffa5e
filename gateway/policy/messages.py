"""Chat messages: known roles, known parts, and nothing that an engine would have to fetch."""

from typing import Any

from gateway.policy.checks import Check, array, label, nested, one_of, pick, record, refuse, text

_ROLES = one_of("system", "developer", "user", "assistant", "tool", "function")
_ANY_LENGTH = text(2**31)


def messages(value: Any, name: str) -> Any:
    """Take a conversation of 1 to 1,000 messages; only known fields go on."""
    return array(1000, _message, min_items=1)(value, name)


def has_system_prompt(conversation: list[dict[str, Any]]) -> bool:
    """Whether the client says itself how the model is to behave."""
    return any(message["role"] in ("system", "developer") for message in conversation)


def _message(value: Any, name: str) -> Any:
    role = _ROLES(record(value, name).get("role"), f"{name}.role")
    return {"role": role, **pick(value, name, _FIELDS)}


def _content(value: Any, name: str) -> Any:
    if isinstance(value, str):
        return value
    return array(256, _part)(value, name)


def _part(value: Any, name: str) -> Any:
    # Without its `type` a part is whatever the engine guesses from its keys: not here.
    kind = one_of(*_PARTS)(record(value, name).get("type"), f"{name}.type")
    return {"type": kind, kind: _PARTS[kind](value.get(kind), f"{name}.{kind}")}


def _media(value: Any, name: str) -> Any:
    """Take media that is in the request itself. An address would make the engine fetch it."""
    found = pick(value, name, {"url": _ANY_LENGTH, "detail": one_of("auto", "low", "high")})
    if not found.get("url", "").startswith("data:"):
        raise refuse(f"{name}.url", "a data: URL; nothing is fetched from elsewhere")
    return found


def _audio(value: Any, name: str) -> Any:
    return pick(value, name, {"data": _ANY_LENGTH, "format": label(16)})


_PARTS: dict[str, Check] = {
    "text": _ANY_LENGTH,
    "refusal": _ANY_LENGTH,
    "image_url": _media,
    "video_url": _media,
    "audio_url": _media,
    "input_audio": _audio,
}

_FIELDS: dict[str, Check] = {
    "content": _content,
    "name": label(128),
    "tool_calls": array(128, nested),
    "tool_call_id": label(256),
    "refusal": _ANY_LENGTH,
    "reasoning": _ANY_LENGTH,
    "reasoning_content": _ANY_LENGTH,
}
