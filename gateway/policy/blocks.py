"""What /v1/messages takes in Anthropic's shape: blocks of content, tools, formats."""

import re
from typing import Any

from gateway.policy.checks import (
    Check,
    UnfitError,
    any_text,
    array,
    flag,
    integer,
    label,
    nested,
    one_of,
    takes,
    text_or,
)
from gateway.policy.conversation import MAX_MESSAGES, check_size
from gateway.policy.objects import Kinds, of_fields, of_kind, record
from gateway.policy.sampling import MAX_TOKENS
from gateway.policy.schemas import FUNCTION, schema

_MEDIA_TYPE = re.compile(r"[a-z]+/[a-z0-9.+-]{1,64}")
_are_few = nested(5_000)


@takes({"type": "string", "pattern": f"^{_MEDIA_TYPE.pattern}$"})
def _media_type(value: Any) -> Any:
    if not isinstance(value, str) or not _MEDIA_TYPE.fullmatch(value):
        raise UnfitError("a media type")
    return value


@takes({"type": "object"} | _are_few.schema)
def _arguments(value: Any) -> Any:
    return _are_few(record(value))


# Images are in the request itself: an address would make the engine fetch it.
_SOURCES: Kinds = {"base64": ({"media_type": _media_type, "data": any_text}, {})}
_TEXT: Kinds = {"text": ({"text": any_text}, {})}
_SHOWN: Kinds = {**_TEXT, "image": ({"source": of_kind(_SOURCES)}, {})}
_BLOCKS: Kinds = {
    **_SHOWN,
    "tool_use": ({"id": label(256), "name": label(128), "input": _arguments}, {}),
    "tool_result": (
        {"tool_use_id": label(256)},
        {"content": text_or(array(256, of_kind(_SHOWN))), "is_error": flag},
    ),
    "thinking": ({"thinking": any_text}, {"signature": any_text}),
    "redacted_thinking": ({}, {"data": any_text}),
}
_TURN: dict[str, Check] = {
    "role": one_of("user", "assistant", "system"),
    "content": text_or(array(256, of_kind(_BLOCKS))),
}


_all_messages = array(MAX_MESSAGES, of_fields(_TURN, needed=_TURN), min_items=1)


@takes(_all_messages.schema)
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


@takes(_known_tool.schema)
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

output_config = of_fields(
    {
        "effort": one_of("low", "medium", "high", "xhigh", "max"),
        "format": of_kind({"json_schema": ({"schema": schema}, {})}),
    }
)
"""Takes how hard to try, and the form of the answer."""

metadata = of_fields({"user_id": label(512)})
"""Takes whom the request is about."""

system = text_or(array(256, of_kind(_TEXT)))
"""Takes a text, or blocks of text."""
