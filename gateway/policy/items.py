"""What /v1/responses takes in its own shape: items of the input, flat tools, formats."""

from typing import Any

from gateway.policy.arguments import arguments
from gateway.policy.checks import (
    Check,
    UnfitError,
    any_text,
    array,
    at,
    either,
    flag,
    label,
    one_of,
    takes,
    text,
    text_or,
)
from gateway.policy.conversation import MAX_MESSAGES, check_size, data_url
from gateway.policy.objects import Kinds, of_fields, of_kind, record
from gateway.policy.schemas import CHOICES, FUNCTION, schema

_NAME = label(256)
_AS_STORED: dict[str, Check] = {
    "id": _NAME,
    "status": one_of("in_progress", "completed", "incomplete"),
}


_PARTS: Kinds = {
    "input_text": ({"text": any_text}, {}),
    "output_text": ({"text": any_text}, {}),
    "refusal": ({"refusal": any_text}, {}),
    "input_image": ({"image_url": data_url}, {"detail": one_of("auto", "low", "high")}),
}
_known_part = of_kind(_PARTS)


@takes(_known_part.schema)
def _part(value: Any) -> Any:
    """Take a part. A refusal goes on as what it is, a text: vLLM fails on the other form."""
    part = _known_part(value)
    if part["type"] == "refusal":
        return {"type": "output_text", "text": part["refusal"]}
    return part


_content = text_or(array(256, _part))
_THOUGHTS: Kinds = {
    "reasoning_text": ({"text": any_text}, {}),
    "summary_text": ({"text": any_text}, {}),
}
_ITEMS: Kinds = {
    "message": (
        {"role": one_of("system", "developer", "user", "assistant"), "content": _content},
        _AS_STORED,
    ),
    "function_call": (
        {"call_id": _NAME, "name": label(128), "arguments": arguments},
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
_known_item = of_kind(_ITEMS, default="message")


@takes(_known_item.schema)
def _item(value: Any) -> Any:
    item = _known_item(value)
    if item["type"] == "reasoning":
        item.setdefault("summary", [])  # vLLM will not read a thought without one
    return item


_items = array(MAX_MESSAGES, _item, min_items=1)


@takes(either(any_text, _items))
def input_items(value: Any) -> Any:
    """Take a text, or items: turns, calls of functions and what they gave, thoughts."""
    if isinstance(value, str):
        return value
    check_size(value, ("content", "output", "summary"))
    return _items(value)


_named_function = of_kind({"function": ({"name": FUNCTION["name"]}, {})})


@takes(either(CHOICES, _named_function))
def tool_choice(value: Any) -> Any:
    """Take `none`, `auto`, `required` or one named function."""
    return CHOICES(value) if isinstance(value, str) else _named_function(value)


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

text_format = of_fields({"format": of_kind(_FORMATS), "verbosity": one_of("low", "medium", "high")})
"""Takes `text`: OpenAI's three formats, and how wordy to be."""

reasoning = of_fields(
    {
        "effort": one_of("none", "minimal", "low", "medium", "high", "xhigh", "max"),
        "summary": one_of("auto", "concise", "detailed"),
    }
)
"""Takes how much to think, and what to tell of it."""

_key, _word = label(64), label(512)


@takes(
    {
        "type": "object",
        "maxProperties": 16,
        "propertyNames": _key.schema,
        "additionalProperties": _word.schema,
    }
)
def metadata(value: Any) -> Any:
    """Take what an answer repeats."""
    if len(record(value)) > 16:
        raise UnfitError("an object of at most 16 texts")
    return {
        at("." + key[:64], key, _key): at("." + key[:64], word, _word)
        for key, word in value.items()
    }
