"""Chat messages: known roles, known parts, and nothing that an engine would have to fetch."""

from typing import Any, Final

from gateway.policy.checks import (
    Check,
    UnfitError,
    array,
    at,
    label,
    nested,
    one_of,
    pick,
    record,
    text,
)

_ROLES = one_of("system", "developer", "user", "assistant", "tool", "function")
_ANY_LENGTH = text(2**31)
MAX_MESSAGES: Final = 1000
MAX_PARTS: Final = 4096
"""Parts and tool calls of all messages together."""
_MAX_CALL_VALUES = 100


def conversation(value: Any) -> Any:
    """Take a conversation of bounded length; only known fields go on."""
    check_size(value, ("content", "tool_calls"))
    return _messages(value)


def check_size(value: Any, lists: tuple[str, ...]) -> None:
    """Refuse a conversation that is too long to be looked at; `lists` name what its parts are in.

    Raises:
        UnfitError: it is, or is none.
    """
    if not isinstance(value, list) or len(value) > MAX_MESSAGES:
        raise UnfitError(f"an array of 1 to {MAX_MESSAGES} messages")
    num_parts = 0
    for message in value:
        if isinstance(message, dict):
            for name in lists:
                parts = message.get(name)
                if isinstance(parts, list):
                    num_parts += len(parts)
    if num_parts > MAX_PARTS:
        raise UnfitError(f"a conversation of at most {MAX_PARTS} parts and tool calls")


def data_url(value: Any) -> Any:
    """Take media that is in the request itself. An address would make the engine fetch it."""
    if not isinstance(value, str) or not value.startswith("data:"):
        raise UnfitError("a data: URL; nothing is fetched from elsewhere")
    return value


def has_system_prompt(turns: list[dict[str, Any]]) -> bool:
    """Whether the client says itself how the model is to behave."""
    return any(turn.get("role") in ("system", "developer") for turn in turns)


def _message(value: Any) -> Any:
    role = at(".role", record(value).get("role"), _ROLES)
    if len(value) == 2 and isinstance(value.get("content"), str):
        return value  # as nearly every one is: there is nothing else to look at
    return {"role": role, **pick(value, _FIELDS)}


def _content(value: Any) -> Any:
    return value if isinstance(value, str) else _parts(value)


def _part(value: Any) -> Any:
    # Without its `type` a part is whatever the engine guesses from its keys: not here.
    kind = at(".type", record(value).get("type"), _KINDS)
    return {"type": kind, kind: at("." + kind, value.get(kind), _PARTS[kind])}


def _media(value: Any) -> Any:
    at(".url", record(value).get("url"), data_url)
    return pick(value, _MEDIA)


def _audio(value: Any) -> Any:
    return pick(value, _AUDIO)


_MEDIA: dict[str, Check] = {"url": data_url, "detail": one_of("auto", "low", "high")}
_AUDIO: dict[str, Check] = {"data": _ANY_LENGTH, "format": label(16)}


_PARTS: dict[str, Check] = {
    "text": _ANY_LENGTH,
    "refusal": _ANY_LENGTH,
    "image_url": _media,
    "video_url": _media,
    "audio_url": _media,
    "input_audio": _audio,
}

_KINDS = one_of(*_PARTS)
_parts = array(256, _part)

_FIELDS: dict[str, Check] = {
    "content": _content,
    "name": label(128),
    "tool_calls": array(128, nested(_MAX_CALL_VALUES)),
    "tool_call_id": label(256),
    "refusal": _ANY_LENGTH,
    "reasoning": _ANY_LENGTH,
    "reasoning_content": _ANY_LENGTH,
}

_messages = array(MAX_MESSAGES, _message, min_items=1)
