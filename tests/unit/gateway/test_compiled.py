"""Which requests an engine compiles something for, and which of them are the same to it."""

from typing import Any

import pytest

from gateway.dialects.chat import CHAT
from gateway.dialects.endpoint import Endpoint
from gateway.dialects.messages import COUNT_TOKENS, MESSAGES
from gateway.dialects.responses import RESPONSES
from gateway.policy.fields import authorise

TURNS = [{"role": "user", "content": "Hello"}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
OTHER = {"type": "object", "properties": {"b": {"type": "string"}}}


def digest(endpoint: Endpoint = CHAT, **fields: Any) -> bytes | None:
    """Authorise the least request with more fields; return the digest of its schemas."""
    body = {"model": "m", "messages": TURNS, "input": "Hello", "max_tokens": 5}
    return authorise(endpoint, body | fields).schemas


def formatted(endpoint: Endpoint, schema: Any) -> dict[str, Any]:
    """Ask for an answer by a schema."""
    if endpoint is RESPONSES:
        return {"text": {"format": {"type": "json_schema", "name": "a", "schema": schema}}}
    if endpoint is MESSAGES:
        return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}
    return {
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    }


def tools(endpoint: Endpoint, *schemas: Any, **more: Any) -> dict[str, Any]:
    """Offer a function per schema."""
    offered = []
    for number, schema in enumerate(schemas):
        function = {"name": f"f{number}", "parameters": schema, **more}
        if endpoint is CHAT:
            offered.append({"type": "function", "function": function})
        elif endpoint is RESPONSES:
            offered.append({"type": "function", **function})
        else:
            function["input_schema"] = function.pop("parameters")
            offered.append(function)
    return {"tools": offered}


FORCED = [
    (CHAT, "required"),
    (CHAT, {"type": "function", "function": {"name": "f0"}}),
    (RESPONSES, "required"),
    (RESPONSES, {"type": "function", "name": "f0"}),
    (MESSAGES, {"type": "any"}),
    (MESSAGES, {"type": "tool", "name": "f0"}),
]


@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES, MESSAGES])
def test_a_schema_of_the_answer_counts(endpoint: Endpoint) -> None:
    """The same again is the same, whatever else is asked; another is another."""
    first = digest(endpoint, **formatted(endpoint, SCHEMA))
    assert first is not None
    assert first == digest(endpoint, **formatted(endpoint, SCHEMA), temperature=0)
    assert first != digest(endpoint, **formatted(endpoint, OTHER))


@pytest.mark.parametrize(("endpoint", "choice"), FORCED)
def test_tools_count_where_a_call_is_demanded(endpoint: Endpoint, choice: Any) -> None:
    """Each parameter of each; their descriptions are no part of it."""
    first = digest(endpoint, **tools(endpoint, SCHEMA), tool_choice=choice)
    described = tools(endpoint, SCHEMA, description="Does it.")
    assert first is not None
    assert first == digest(endpoint, **described, tool_choice=choice)
    assert first != digest(endpoint, **tools(endpoint, OTHER), tool_choice=choice)
    assert first != digest(endpoint, **tools(endpoint, SCHEMA, OTHER), tool_choice=choice)


@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES, MESSAGES])
def test_strict_tools_count(endpoint: Endpoint) -> None:
    """Others are text to the engine."""
    strict = digest(endpoint, **tools(endpoint, SCHEMA, strict=True))
    assert strict is not None
    assert strict != digest(endpoint, **tools(endpoint, OTHER, strict=True))
    assert digest(endpoint, **tools(endpoint, SCHEMA, strict=False)) is None
    assert digest(endpoint, **tools(endpoint, SCHEMA)) is None


@pytest.mark.parametrize(
    ("endpoint", "one_by_one"),
    [
        (CHAT, {"parallel_tool_calls": False}),
        (RESPONSES, {"parallel_tool_calls": False}),
        (MESSAGES, {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}),
    ],
)
def test_tools_count_where_no_two_may_be_called(
    endpoint: Endpoint, one_by_one: dict[str, Any]
) -> None:
    """vLLM holds a model to that by a grammar of all names."""
    found = {digest(endpoint, **tools(endpoint, *some), **one_by_one) for some in ([{}], [{}, {}])}
    assert len(found - {None}) == 2


def test_which_function_is_demanded_counts() -> None:
    """An engine compiles for that one alone."""
    offered = tools(CHAT, SCHEMA, OTHER)
    choices = [{"type": "function", "function": {"name": name}} for name in ("f0", "f1")]
    assert len({digest(**offered, tool_choice=choice) for choice in choices}) == 2


def test_choices_of_texts_count() -> None:
    """Each is a grammar, too."""
    found = {digest(structured_outputs={"choice": [word]}) for word in ("yes", "no")}
    assert len(found - {None}) == 2


@pytest.mark.parametrize(
    ("endpoint", "fields"),
    [
        (CHAT, {}),
        (CHAT, {"response_format": {"type": "json_object"}}),
        (CHAT, {"response_format": {"type": "text"}, "tools": []}),
        (CHAT, {"structured_outputs": {}}),
        (CHAT, {**tools(CHAT, SCHEMA, strict=True), "tool_choice": "none"}),
        (CHAT, {"tool_choice": "required"}),
        (RESPONSES, {"text": {"verbosity": "low"}}),
        (RESPONSES, {"text": {"format": {"type": "json_object"}}}),
        (MESSAGES, {"output_config": {"effort": "low"}}),
    ],
)
def test_nothing_new_is_compiled_for_others(endpoint: Endpoint, fields: dict[str, Any]) -> None:
    """Texts, any JSON, tools that nobody has to call."""
    assert digest(endpoint, **fields) is None


def test_counting_tokens_compiles_nothing() -> None:
    """Whoever counts is no nearer to the bound."""
    asked = formatted(MESSAGES, SCHEMA) | tools(MESSAGES, SCHEMA, strict=True)
    assert digest(MESSAGES, **asked) is not None
    assert digest(COUNT_TOKENS, **asked) is None
