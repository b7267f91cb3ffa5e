"""What /v1/messages takes in Anthropic's shape: blocks of content, tools, formats."""

import re
from typing import Any

from gateway.policy.checks import (
    Check,
    Kinds,
    UnfitError,
    array,
    flag,
    integer,
    label,
    nested,
    of_kind,
    one_of,
    pick,
    record,
    text,
)
from gateway.policy.conversation import MAX_MESSAGES, check_size
from gateway.policy.sampling import MAX_TOKENS
from gateway.policy.schemas import FUNCTION, schema

_ANY_LENGTH = text(2**31)
_MEDIA_TYPE = re.compile(r"[a-z]+/[a-z0-9.+-]{1,64}")
_MAX_CALL_VALUES = 200


def _media_type(value: Any) -> Any:
    if not isinstance(value, str) or not _MEDIA_TYPE.fullmatch(value):
        raise UnfitError("a media type")
    return value


def _arguments(value: Any) -> Any:
    return _are_few(record(value))


def _text_or(blocks: Check) -> Check:
    def check(value: Any) -> Any:
        return value if isinstance(value, str) else blocks(value)

    return check


_are_few = nested(_MAX_CALL_VALUES)
# Images are in the request itself: an address would make the engine fetch it.
_SOURCES: Kinds = {"base64": ({"media_type": _media_type, "data": _ANY_LENGTH}, {})}
_TEXT: Kinds = {"text": ({"text": _ANY_LENGTH}, {})}
_SHOWN: Kinds = {**_TEXT, "image": ({"source": of_kind(_SOURCES)}, {})}
_BLOCKS: Kinds = {
    **_SHOWN,
    "tool_use": ({"id": label(256), "name": label(128), "input": _arguments}, {}),
    "tool_result": (
        {"tool_use_id": label(256)},
        {"content": _text_or(array(16, of_kind(_SHOWN))), "is_error": flag},
    ),
    "thinking": ({"thinking": _ANY_LENGTH}, {"signature": _ANY_LENGTH}),
    "redacted_thinking": ({}, {"data": _ANY_LENGTH}),
}
_MESSAGE: dict[str, Check] = {
    "role": one_of("user", "assistant", "system"),
    "content": _text_or(array(256, of_kind(_BLOCKS))),
}


def _message(value: Any) -> Any:
    return pick(value, _MESSAGE, needed=_MESSAGE)


_all_messages = array(MAX_MESSAGES, _message, min_items=1)


def messages(value: Any) -> Any:
    """Take turns of bounded length; only known fields go on."""
    check_size(value, ("content",))
    return _all_messages(value)


# Tools that an engine or Anthropic would run itself have other types.
_known_tool = of_kind(
    {
        "custom": (
            {"name": FUNCTION["name"], "input_schema": schema},
            {"description": FUNCTION["description"], "strict": flag},
        )
    },
    default="custom",
)


def tool(value: Any) -> Any:
    """Take a function. vLLM knows no `type` of it."""
    found = _known_tool(value)
    del found["type"]
    return found


_ONE_BY_ONE: dict[str, Check] = {"disable_parallel_tool_use": flag}

tool_choice = of_kind(
    {
        "auto": ({}, _ONE_BY_ONE),
        "any": ({}, _ONE_BY_ONE),
        "none": ({}, {}),
        "tool": ({"name": FUNCTION["name"]}, _ONE_BY_ONE),
    }
)
"""Takes whether to use a function, and which."""

thinking = of_kind(
    {
        "enabled": ({"budget_tokens": integer(1024, MAX_TOKENS)}, {}),
        "disabled": ({}, {}),
        "adaptive": ({}, {}),
    }
)
"""Takes whether to think, and how much."""

_OUTPUT: dict[str, Check] = {
    "effort": one_of("low", "medium", "high", "xhigh", "max"),
    "format": of_kind({"json_schema": ({"schema": schema}, {})}),
}


def output_config(value: Any) -> Any:
    """Take how hard to try, and the form of the answer."""
    return pick(value, _OUTPUT)


def metadata(value: Any) -> Any:
    """Take whom the request is about."""
    return pick(value, {"user_id": label(512)})


system = _text_or(array(256, of_kind(_TEXT)))
"""Takes a text, or blocks of text."""
