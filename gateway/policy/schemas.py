"""JSON Schemas that clients send: tools and structured output. They reach a grammar compiler.

Compilers have been crashed, and shared engines with them, by odd `pattern` and `type` values, by
regular expressions and by sheer size (vLLM GHSA-vrq3-r879-7m65, GHSA-hf3c-wxg2-49q9,
GHSA-rwxx-mrjm-wc2m): what passes here is small, shallow and plain.
"""

from typing import Any, Final

from gateway.policy.checks import (
    Check,
    UnfitError,
    array,
    at,
    either,
    flag,
    label,
    nested,
    one_of,
    takes,
    text,
)
from gateway.policy.objects import of_fields, pick, record, shape, under_type
from gateway.policy.patterns import MAX_PATTERN_LENGTH

_MAX_VALUES = 5_000
_MAX_TOOL_VALUES = 20_000
_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
# Under these, keys are names that the client chose, or values, not keywords of the language.
_NAMES = frozenset({"properties", "$defs", "definitions", "dependencies", "dependentSchemas"})
_VALUES = frozenset({"enum", "const", "default", "examples", "dependentRequired"})

_is_type = one_of(*_TYPES)
_is_small = nested(_MAX_VALUES)
_are_small = nested(_MAX_TOOL_VALUES)


def _check_keywords(value: Any) -> None:
    if isinstance(value, list):
        for index, item in enumerate(value):
            at(f"[{index}]", item, _check_keywords)
    if not isinstance(value, dict):
        return
    for key, inner in value.items():
        if key in _NAMES and isinstance(inner, dict):
            at("." + key, inner, _check_named)
        elif key not in _VALUES:
            at("." + key[:64], inner, _KEYWORDS.get(key, _check_keywords))


def _check_named(value: dict[str, Any]) -> None:
    for called, described in value.items():
        at("." + called[:64], described, _check_keywords)


@takes({"type": "string", "maxLength": MAX_PATTERN_LENGTH})
def _check_pattern(value: Any) -> None:
    """Bound a pattern's length. Compiling it here would let a client's text hold up the worker."""
    if not isinstance(value, str) or len(value) > MAX_PATTERN_LENGTH:
        raise UnfitError(f"a pattern of at most {MAX_PATTERN_LENGTH} characters")


@takes({"anyOf": [_is_type.schema, {"type": "array", "items": _is_type.schema}]})
def _check_type(value: Any) -> None:
    kinds = value if isinstance(value, list) else [value]
    if not all(isinstance(kind, str) and kind in _TYPES for kind in kinds):
        raise UnfitError("one of " + ", ".join(_TYPES))


@takes({"not": {}})
def _check_absent(_: Any) -> None:
    raise UnfitError("left out: it is not served")


_KEYWORDS: dict[str, Check] = {
    "type": _check_type,
    "pattern": _check_pattern,
    "patternProperties": _check_absent,
}
_SAID: Final = {key: check.schema for key, check in _KEYWORDS.items()}


@takes({"type": ["object", "boolean"], "properties": _SAID} | _is_small.schema)
def schema(value: Any) -> Any:
    """Take a JSON Schema within bounds."""
    if isinstance(value, bool):
        return value
    _is_small(record(value))
    _check_keywords(value)
    return value


CHOICES: Final = one_of("none", "auto", "required")
"""Takes whether to use a function."""
FUNCTION: Final[dict[str, Check]] = {
    "name": text(128),
    "description": text(32_768),
    "parameters": schema,
    "strict": flag,
}


def tools_of(tool: Check) -> Check:
    """Take functions that the model may ask for, each passing `tool`, not too large together."""
    several = array(64, tool)

    @takes(several.schema | _are_small.schema)
    def check(value: Any) -> Any:
        return several(_are_small(value))

    return check


tools = tools_of(under_type({"function": of_fields(FUNCTION, needed=("name",))}))
"""Takes the tools of a chat."""

_named_function = under_type({"function": of_fields({"name": FUNCTION["name"]})})


@takes(either(CHOICES, _named_function))
def tool_choice(value: Any) -> Any:
    """Take `none`, `auto`, `required` or one named function."""
    return CHOICES(value) if isinstance(value, str) else _named_function(value)


_plain_format = one_of("text", "json_object")
_format_by_schema = under_type(
    {
        "json_schema": of_fields(
            {"name": label(128), "description": text(8192), "schema": schema, "strict": flag}
        )
    }
)
_format = one_of("text", "json_object", "json_schema")


@takes({"anyOf": [shape({"type": _plain_format}, ("type",)), _format_by_schema.schema]})
def response_format(value: Any) -> Any:
    """Take OpenAI's three formats: text, any JSON, JSON by a schema."""
    kind = at(".type", record(value).get("type"), _format)
    return _format_by_schema(value) if kind == "json_schema" else {"type": kind}


_STRUCTURED: dict[str, Check] = {"json": schema, "choice": array(256, text(1024), min_items=1)}


@takes(shape(_STRUCTURED) | {"additionalProperties": False})
def structured_outputs(value: Any) -> Any:
    """Take vLLM's own form: a schema, or a choice of texts. Never a regex or a grammar."""
    for key in record(value):
        if key not in _STRUCTURED:
            raise UnfitError("left out: only `json` and `choice` are served", f".{key[:64]}")
    return pick(value, _STRUCTURED)
