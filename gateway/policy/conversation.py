"""Chat messages: known roles, known parts, and nothing that an engine would have to fetch."""

from typing import Any, Final

from gateway.policy.arguments import arguments
from gateway.policy.checks import (
    Check,
    UnfitError,
    any_text,
    array,
    at,
    label,
    nested,
    one_of,
    takes,
    text_or,
)
from gateway.policy.objects import of_fields, pick, record, shape, under_type

MAX_MESSAGES: Final = 1000
MAX_PARTS: Final = 4096
"""Parts and tool calls of all messages together."""
_MAX_CALL_VALUES = 100


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


def has_system_prompt(turns: list[dict[str, Any]]) -> bool:
    """Whether the client says itself how the model is to behave."""
    return any(turn.get("role") in ("system", "developer") for turn in turns)


@takes({"type": "string", "pattern": "^data:"})
def data_url(value: Any) -> Any:
    """Take media that is in the request itself. An address would make the engine fetch it."""
    if not isinstance(value, str) or not value.startswith("data:"):
        raise UnfitError("a data: URL; nothing is fetched from elsewhere")
    return value


_MEDIA: dict[str, Check] = {"url": data_url, "detail": one_of("auto", "low", "high")}


@takes(shape(_MEDIA, needed=("url",)))
def _media(value: Any) -> Any:
    at(".url", record(value).get("url"), data_url)
    return pick(value, _MEDIA)


# Without its `type` a part is whatever the engine guesses from its keys: not here.
_PARTS: dict[str, Check] = {
    "text": any_text,
    "refusal": any_text,
    "image_url": _media,
    "video_url": _media,
    "audio_url": _media,
    "input_audio": of_fields({"data": any_text, "format": label(16)}),
}
_ROLES = one_of("system", "developer", "user", "assistant", "tool", "function")
_is_small_call = nested(_MAX_CALL_VALUES)


@takes(_is_small_call.schema)
def _tool_call(value: Any) -> Any:
    _is_small_call(value)
    function = value.get("function") if isinstance(value, dict) else None
    if isinstance(function, dict) and isinstance(function.get("arguments"), str):
        at(".function.arguments", function["arguments"], arguments)
    return value


_FIELDS: dict[str, Check] = {
    "content": text_or(array(256, under_type(_PARTS))),
    "name": label(128),
    "tool_calls": array(128, _tool_call),
    "tool_call_id": label(256),
    "refusal": any_text,
    "reasoning": any_text,
    "reasoning_content": any_text,
}


@takes(shape({"role": _ROLES, **_FIELDS}, needed=("role",)))
def _message(value: Any) -> Any:
    role = at(".role", record(value).get("role"), _ROLES)
    if len(value) == 2 and isinstance(value.get("content"), str):
        return value  # as nearly every one is: there is nothing else to look at
    return {"role": role, **pick(value, _FIELDS)}


_messages = array(MAX_MESSAGES, _message, min_items=1)


@takes(_messages.schema)
def conversation(value: Any) -> Any:
    """Take a conversation of bounded length; only known fields go on."""
    check_size(value, ("content", "tool_calls"))
    return _messages(value)
