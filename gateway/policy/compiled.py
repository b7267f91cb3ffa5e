"""What of a request an engine compiles into a grammar before it answers.

That is a JSON Schema or a choice for the answer, and the tools where their form is forced: one of
them strict, a call of them demanded, or no two at once. Tools that a model may use as it likes are
text to an engine.
"""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final

import msgspec

from gateway.policy.checks import hold
from gateway.policy.weight import light

COMPILED: Final = frozenset(
    {"output_config", "response_format", "structured_outputs", "text", "tools"}
)
"""The fields, of all dialects, in which it may be. Few requests have any of them."""


def digest_of_schemas(fields: Mapping[str, Any]) -> bytes | None:
    """Return a digest of all that is compiled for a request; None: nothing.

    Args:
        fields: as they passed their endpoint's table.

    Raises:
        InvalidRequestError: it would take too long; `param` names the field.
    """
    compiled = {
        "structured_outputs": fields.get("structured_outputs"),
        "response_format": _schema_of(fields.get("response_format")),
        "text": _schema_of(fields.get("text", {}).get("format")),
        "output_config": _schema_of(fields.get("output_config", {}).get("format")),
        "tools": _forced_tools(fields),
    }
    asked = [hold(schema, name, light) for name, schema in compiled.items()]
    return blake2b(msgspec.json.encode(asked), digest_size=16).digest() if any(asked) else None


def _schema_of(form: dict[str, Any] | None) -> Any:
    """Return the schema that a format has: in chats one level further in than elsewhere."""
    if form is None or form["type"] != "json_schema":
        return None
    return form.get("json_schema", form).get("schema")


def _forced_tools(fields: Mapping[str, Any]) -> Any:
    """Return the choice with the names and parameters of all tools, if an engine holds to them."""
    functions = [tool.get("function", tool) for tool in fields.get("tools", ())]
    choice = fields.get("tool_choice", "auto")
    kind = choice["type"] if isinstance(choice, dict) else choice
    one_by_one = _is_one_by_one(fields, choice)
    is_strict = one_by_one or any(function.get("strict") for function in functions)
    if (kind == "auto" and not is_strict) or kind == "none" or not functions:
        return None
    return [
        choice,
        one_by_one,
        [(each["name"], each.get("parameters", each.get("input_schema"))) for each in functions],
    ]


def _is_one_by_one(fields: Mapping[str, Any], choice: Any) -> bool:
    """Whether two calls at once are forbidden, in either dialect's words."""
    if isinstance(choice, dict) and choice.get("disable_parallel_tool_use"):
        return True
    return fields.get("parallel_tool_calls") is False
