"""What /v1/responses takes in its own shape: items of the input, flat tools, formats."""

from typing import Any

from gateway.policy.checks import (
    Check,
    Kinds,
    UnfitError,
    array,
    at,
    flag,
    label,
    of_kind,
    one_of,
    pick,
    record,
    text,
)
from gateway.policy.conversation import MAX_MESSAGES, check_size, data_url
from gateway.policy.schemas import FUNCTION, schema

_ANY_LENGTH = text(2**31)
_NAME = label(256)
_AS_STORED: dict[str, Check] = {
    "id": _NAME,
    "status": one_of("in_progress", "completed", "incomplete"),
}


def _content(value: Any) -> Any:
    return value if isinstance(value, str) else _parts(value)


_PARTS: Kinds = {
    "input_text": ({"text": _ANY_LENGTH}, {}),
    "output_text": ({"text": _ANY_LENGTH}, {}),
    "refusal": ({"refusal": _ANY_LENGTH}, {}),
    "input_image": ({"image_url": data_url}, {"detail": one_of("auto", "low", "high")}),
}
_THOUGHTS: Kinds = {
    "reasoning_text": ({"text": _ANY_LENGTH}, {}),
    "summary_text": ({"text": _ANY_LENGTH}, {}),
}
_ITEMS: Kinds = {
    "message": (
        {"role": one_of("system", "developer", "user", "assistant"), "content": _content},
        _AS_STORED,
    ),
    "function_call": (
        {"call_id": _NAME, "name": label(128), "arguments": _ANY_LENGTH},
        _AS_STORED,
    ),
    "function_call_output": ({"call_id": _NAME, "output": _content}, _AS_STORED),
    "reasoning": (
        {},
        {
            "content": array(256, of_kind(_THOUGHTS)),
            "summary": array(256, of_kind(_THOUGHTS)),
            **_AS_STORED,
        },
    ),
}
_parts = array(256, of_kind(_PARTS))
_known_item = of_kind(_ITEMS, default="message")


def _item(value: Any) -> Any:
    item = _known_item(value)
    if item["type"] == "reasoning":
        item.setdefault("summary", [])  # vLLM will not read a thought without one
    return item


_items = array(MAX_MESSAGES, _item, min_items=1)


def input_items(value: Any) -> Any:
    """Take a text, or items: turns, calls of functions and what they gave, thoughts."""
    if isinstance(value, str):
        return value
    check_size(value, ("content", "output", "summary"))
    return _items(value)


def tool_choice(value: Any) -> Any:
    """Take `none`, `auto`, `required` or one named function."""
    if isinstance(value, str):
        return one_of("none", "auto", "required")(value)
    return _named_function(value)


_named_function = of_kind({"function": ({"name": FUNCTION["name"]}, {})})

tool = of_kind({"function": ({"name": FUNCTION["name"]}, FUNCTION)})
"""Takes a function. Tools that an engine would run itself are not served."""


_FORMATS: Kinds = {
    "text": ({}, {}),
    "json_object": ({}, {}),
    "json_schema": (
        {"name": label(128), "schema": schema},
        {"description": text(8192), "strict": flag},
    ),
}
_TEXT: dict[str, Check] = {
    "format": of_kind(_FORMATS),
    "verbosity": one_of("low", "medium", "high"),
}


def text_format(value: Any) -> Any:
    """Take `text`: OpenAI's three formats, and how wordy to be."""
    return pick(value, _TEXT)


def reasoning(value: Any) -> Any:
    """Take how much to think, and what to tell of it."""
    efforts = one_of("none", "minimal", "low", "medium", "high", "xhigh")
    return pick(value, {"effort": efforts, "summary": one_of("auto", "concise", "detailed")})


def metadata(value: Any) -> Any:
    """Take what an answer repeats."""
    if len(record(value)) > 16:
        raise UnfitError("an object of at most 16 texts")
    return {
        at("." + key[:64], key, label(64)): at("." + key[:64], word, label(512))
        for key, word in value.items()
    }
