"""JSON Schemas that clients send: tools and structured output. They reach a grammar compiler.

Compilers have been crashed, and shared engines with them, by odd `pattern` and `type` values, by
regular expressions and by sheer size (vLLM GHSA-vrq3-r879-7m65, GHSA-hf3c-wxg2-49q9,
GHSA-rwxx-mrjm-wc2m): what passes here is small, shallow and plain.
"""

from typing import Any

from gateway.policy.checks import array, flag, label, nested, one_of, pick, record, refuse, text

_MAX_NODES = 5_000
_MAX_PATTERN_LENGTH = 256
_TYPES = frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})
# Under these, keys are names that the client chose, or values, not keywords of the language.
_NAMES = frozenset({"properties", "$defs", "definitions", "dependentSchemas"})
_VALUES = frozenset({"enum", "const", "default", "examples"})
_REFUSED = frozenset({"patternProperties"})

_function_name = text(128)


def schema(value: Any, name: str) -> Any:
    """Take a JSON Schema within bounds."""
    if isinstance(value, bool):
        return value
    nested(record(value, name), name)
    if _count_nodes(value) > _MAX_NODES:
        raise refuse(name, f"a schema of at most {_MAX_NODES} values")
    _check_keywords(value, name)
    return value


def tool(value: Any, name: str) -> Any:
    """Take a function that the model may ask for."""
    found = record(value, name)
    one_of("function")(found.get("type"), f"{name}.type")
    function = pick(
        found.get("function"),
        f"{name}.function",
        {"name": _function_name, "description": text(8192), "parameters": schema, "strict": flag},
    )
    if "name" not in function:
        raise refuse(f"{name}.function.name", "a string")
    return {"type": "function", "function": function}


def tool_choice(value: Any, name: str) -> Any:
    """Take `none`, `auto`, `required` or one named function."""
    if isinstance(value, str):
        return one_of("none", "auto", "required")(value, name)
    one_of("function")(record(value, name).get("type"), f"{name}.type")
    function = pick(value.get("function"), f"{name}.function", {"name": _function_name})
    return {"type": "function", "function": function}


def response_format(value: Any, name: str) -> Any:
    """Take OpenAI's three formats: text, any JSON, JSON by a schema."""
    kind = record(value, name).get("type")
    one_of("text", "json_object", "json_schema")(kind, f"{name}.type")
    if kind != "json_schema":
        return {"type": kind}
    fields = {"name": label(128), "description": text(8192), "schema": schema, "strict": flag}
    return {"type": kind, kind: pick(value.get(kind), f"{name}.{kind}", fields)}


def structured_outputs(value: Any, name: str) -> Any:
    """Take vLLM's own form: a schema, or a choice of texts. Never a regex or a grammar."""
    fields = {"json": schema, "choice": array(256, text(1024), min_items=1)}
    for key in record(value, name):
        if key not in fields:
            raise refuse(f"{name}.{key}", "left out: only `json` and `choice` are served")
    return pick(value, name, fields)


def _count_nodes(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(map(_count_nodes, value.values()))
    if isinstance(value, list):
        return 1 + sum(map(_count_nodes, value))
    return 1


def _check_keywords(value: Any, name: str) -> None:
    if isinstance(value, list):
        for item in value:
            _check_keywords(item, name)
    if not isinstance(value, dict):
        return
    for key, inner in value.items():
        if key in _NAMES and isinstance(inner, dict):
            for called, described in inner.items():
                _check_keywords(described, f"{name}.{key}.{called[:64]}")
        elif key not in _VALUES:
            _check_keyword(key, inner, f"{name}.{key[:64]}")
            _check_keywords(inner, f"{name}.{key[:64]}")


def _check_keyword(key: str, value: Any, name: str) -> None:
    if key in _REFUSED:
        raise refuse(name, "left out: it is not served")
    if key == "type":
        kinds = value if isinstance(value, list) else [value]
        if not all(isinstance(kind, str) and kind in _TYPES for kind in kinds):
            raise refuse(name, "one of " + ", ".join(sorted(_TYPES)))
    if key == "pattern":
        _check_pattern(value, name)


def _check_pattern(value: Any, name: str) -> None:
    """Bound a pattern's length. Compiling it here would let a client's text hold up the worker."""
    if not isinstance(value, str) or len(value) > _MAX_PATTERN_LENGTH:
        raise refuse(name, f"a pattern of at most {_MAX_PATTERN_LENGTH} characters")
