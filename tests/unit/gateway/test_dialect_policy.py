"""What /v1/responses, /v1/messages and /v1/embeddings may ask of an engine, and how they are told no."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.chat import CHAT
from gateway.dialects.completions import COMPLETIONS, EMBEDDINGS
from gateway.dialects.endpoint import Endpoint
from gateway.dialects.messages import MESSAGES
from gateway.dialects.responses import RESPONSES
from gateway.inference.order import apply_release
from gateway.policy.fields import Asked, authorise
from serving.errors import InvalidRequestError
from serving.routing.catalog import Release
from tests.unit.gateway.test_policy import anything

LEAST: dict[Endpoint, dict[str, Any]] = {
    RESPONSES: {"model": "m", "input": "Hello"},
    MESSAGES: {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "Hello"}]},
    EMBEDDINGS: {"model": "m", "input": "Hello"},
}
PICTURE = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
RELEASE = Release(
    id=1,
    number=2,
    pool="default",
    system_prompt="Be kind.",
    decoding={"temperature": 0, "max_tokens": 9, "stop": "END"},
)


def ask(endpoint: Endpoint, **fields: Any) -> Asked:
    """Authorise the least body with more fields."""
    return authorise(endpoint, LEAST[endpoint] | fields)


def blocks(*found: dict[str, Any], role: str = "user") -> list[dict[str, Any]]:
    """Return one message of Anthropic's with these blocks."""
    return [{"role": role, "content": list(found)}]


def parts(*found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one item of a response's input with these parts."""
    return [{"role": "user", "content": list(found)}]


TAKEN = [
    (RESPONSES, "input", [{"type": "message", "role": "user", "content": "a"}]),
    (RESPONSES, "input", [CALL | {"id": "fc_1", "status": "completed"}]),
    (
        RESPONSES,
        "input",
        [{"type": "function_call_output", "call_id": "c1", "output": "5"}],
    ),
    (
        RESPONSES,
        "input",
        [
            {
                "type": "message",
                "role": "user",
                "content": [{"type": "input_image", "image_url": "data:image/png;base64,AA"}],
            }
        ],
    ),
    (RESPONSES, "instructions", "Be brief."),
    (RESPONSES, "max_output_tokens", 5),
    (RESPONSES, "tools", [{"type": "function", "name": "f", "parameters": {"type": "object"}}]),
    (RESPONSES, "tool_choice", {"type": "function", "name": "f"}),
    (RESPONSES, "text", {"format": {"type": "json_schema", "name": "a", "schema": {}}}),
    (RESPONSES, "reasoning", {"effort": "low"}),
    (RESPONSES, "include", ["message.output_text.logprobs"]),
    (RESPONSES, "top_logprobs", 3),
    (RESPONSES, "metadata", {"a": "b"}),
    (MESSAGES, "system", [{"type": "text", "text": "Be brief."}]),
    (MESSAGES, "stop_sequences", ["a"]),
    (MESSAGES, "messages", blocks({"type": "image", "source": PICTURE})),
    (
        MESSAGES,
        "messages",
        blocks(
            {"type": "thinking", "thinking": "a", "signature": "b"},
            {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": [1]}},
            role="assistant",
        ),
    ),
    (
        MESSAGES,
        "messages",
        blocks(
            {
                "type": "tool_result",
                "tool_use_id": "c1",
                "content": [{"type": "text", "text": "5"}],
                "is_error": False,
            }
        ),
    ),
    (MESSAGES, "tools", [{"name": "f", "input_schema": {"type": "object"}}]),
    (MESSAGES, "tool_choice", {"type": "tool", "name": "f"}),
    (MESSAGES, "thinking", {"type": "enabled", "budget_tokens": 1024}),
    (MESSAGES, "output_config", {"format": {"type": "json_schema", "schema": {}}}),
    (EMBEDDINGS, "input", ["a", "b"]),
    (EMBEDDINGS, "input", [[1, 2], [3]]),
    (EMBEDDINGS, "encoding_format", "base64"),
    (EMBEDDINGS, "dimensions", 64),
]


@pytest.mark.parametrize(("endpoint", "field", "value"), TAKEN)
def test_known_fields_go_on_as_they_are(endpoint: Endpoint, field: str, value: Any) -> None:
    """What is within its bounds is forwarded unchanged."""
    assert ask(endpoint, **{field: value}).fields[field] == value


REFUSED = [
    (RESPONSES, "input", [], "input"),
    (RESPONSES, "input", [{"type": "item_reference", "id": "x"}], "input[0].type"),
    (RESPONSES, "input", [{"type": "web_search_call"}], "input[0].type"),
    (RESPONSES, "input", [{"role": "wizard", "content": "a"}], "input[0].role"),
    (RESPONSES, "input", [{"role": "user"}], "input[0].content"),
    (RESPONSES, "input", [{"role": "user", "content": "a"}] * 1001, "input"),
    (
        RESPONSES,
        "input",
        parts({"type": "input_image", "image_url": "http://127.0.0.1/a.png"}),
        "input[0].content[0].image_url",
    ),
    (
        RESPONSES,
        "input",
        parts({"type": "input_image", "file_id": "f"}),
        "input[0].content[0].image_url",
    ),
    (
        RESPONSES,
        "input",
        parts({"type": "input_file", "file_url": "x"}),
        "input[0].content[0].type",
    ),
    (RESPONSES, "tools", [{"type": "web_search"}], "tools[0].type"),
    (RESPONSES, "tools", [{"type": "mcp", "server_url": "http://127.0.0.1"}], "tools[0].type"),
    (RESPONSES, "tools", [{"type": "function"}], "tools[0].name"),
    (
        RESPONSES,
        "text",
        {"format": {"type": "json_schema", "name": "a", "schema": {"type": "odd"}}},
        "text.format.schema.type",
    ),
    (RESPONSES, "include", ["file_search_call.results"], "include[0]"),
    (RESPONSES, "max_output_tokens", 0, "max_output_tokens"),
    (RESPONSES, "top_logprobs", 6, "top_logprobs"),
    (RESPONSES, "metadata", {str(n): "a" for n in range(17)}, "metadata"),
    (RESPONSES, "previous_input_messages", [], "previous_input_messages"),
    (RESPONSES, "request_id", "resp_mine", "request_id"),
    (MESSAGES, "max_tokens", None, "max_tokens"),
    (MESSAGES, "messages", blocks({"type": "document"}), "messages[0].content[0].type"),
    (
        MESSAGES,
        "messages",
        blocks({"type": "image", "source": {"type": "url", "url": "http://127.0.0.1"}}),
        "messages[0].content[0].source.type",
    ),
    (
        MESSAGES,
        "messages",
        blocks({"type": "image", "source": PICTURE | {"media_type": "a/b;base64,x"}}),
        "messages[0].content[0].source.media_type",
    ),
    (
        MESSAGES,
        "messages",
        blocks(
            {
                "type": "tool_result",
                "tool_use_id": "c1",
                "content": [{"type": "image", "source": {"type": "url", "url": "http://a"}}],
            }
        ),
        "messages[0].content[0].content[0].source.type",
    ),
    (
        MESSAGES,
        "messages",
        blocks({"type": "tool_use", "id": "c", "name": "f", "input": {"a": [1] * 5000}}),
        "messages[0].content[0].input",
    ),
    (MESSAGES, "tools", [{"type": "web_search_20250305", "name": "f"}], "tools[0].type"),
    (MESSAGES, "tools", [{"name": "f"}], "tools[0].input_schema"),
    (MESSAGES, "tool_choice", {"type": "tool"}, "tool_choice.name"),
    (MESSAGES, "thinking", {"type": "enabled", "budget_tokens": 5}, "thinking.budget_tokens"),
    (MESSAGES, "chat_template_kwargs", {}, "chat_template_kwargs"),
    (MESSAGES, "metadata", {"user_id": "a\0b"}, "metadata.user_id"),
    (EMBEDDINGS, "input", [], "input"),
    (EMBEDDINGS, "input", ["a"] * 2049, "input"),
    (EMBEDDINGS, "encoding_format", "bytes", "encoding_format"),
    (EMBEDDINGS, "dimensions", 0, "dimensions"),
]


@pytest.mark.parametrize(("endpoint", "field", "value", "param"), REFUSED)
def test_what_hurts_is_refused_by_name(
    endpoint: Endpoint, field: str, value: Any, param: str
) -> None:
    """400, and `param` leads to the value at fault."""
    with pytest.raises(InvalidRequestError) as caught:
        ask(endpoint, **{field: value})
    assert caught.value.param == param


STATE = [(endpoint, name) for endpoint in LEAST for name in sorted(endpoint.stateful)]


@pytest.mark.parametrize(("endpoint", "field"), STATE)
def test_nothing_is_kept_between_requests(endpoint: Endpoint, field: str) -> None:
    """What asks for it is refused by name; what declines it is taken, and is nothing to report."""
    for value in ("resp_1", True, {}):
        with pytest.raises(InvalidRequestError) as caught:
            ask(endpoint, **{field: value})
        assert (caught.value.param, caught.value.code) == (field, "unsupported_parameter")
    for declined in (None, False):
        asked = ask(endpoint, **{field: declined})
        assert (field in asked.fields, asked.ignored) == (False, ())


def test_unknown_fields_are_named() -> None:
    """They stay behind, as everywhere."""
    assert ask(RESPONSES, service_tier="flex", n=3).ignored == ("service_tier", "n")
    assert ask(MESSAGES, service_tier="auto").ignored == ("service_tier",)
    nested = blocks({"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}})
    assert ask(MESSAGES, messages=nested).fields["messages"] == blocks(
        {"type": "text", "text": "a"}
    )


def test_whom_a_request_is_about() -> None:
    """`user`, and in Anthropic's dialect `metadata.user_id`."""
    assert ask(RESPONSES, user="u1").subject == "u1"
    assert ask(EMBEDDINGS, user="u1").subject == "u1"
    assert ask(MESSAGES, metadata={"user_id": "u1"}).subject == "u1"
    assert ask(MESSAGES).subject is None


def test_a_release_is_applied_in_the_dialects_own_way() -> None:
    """Its prompt goes where the dialect has it, unless the client has one; so do its defaults."""
    released = {
        endpoint: apply_release(ask(endpoint).fields, RELEASE, endpoint) for endpoint in LEAST
    }
    # Not `instructions`: a response repeats them, and the prompt is nobody's but its alias's.
    assert released[RESPONSES] == {
        "input": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello"}],
        "temperature": 0,
        "max_output_tokens": 9,
        "stop": "END",
    }
    assert released[MESSAGES] == {
        "messages": LEAST[MESSAGES]["messages"],
        "max_tokens": 5,
        "system": "Be kind.",
        "temperature": 0,
        "stop_sequences": ["END"],
    }
    assert released[EMBEDDINGS] == {"input": "Hello"}


@pytest.mark.parametrize(
    ("endpoint", "own"),
    [
        (RESPONSES, {"instructions": "Mine."}),
        (RESPONSES, {"input": [{"role": "developer", "content": "Mine."}]}),
        (MESSAGES, {"system": "Mine."}),
        (
            MESSAGES,
            {"messages": [{"role": "system", "content": "Mine."}]},
        ),
    ],
)
def test_the_clients_own_prompt_stays(endpoint: Endpoint, own: dict[str, Any]) -> None:
    """Then the release's is not added."""
    released = apply_release(ask(endpoint, **own).fields, RELEASE, endpoint)
    assert "Be kind." not in str(released)


@pytest.mark.parametrize("endpoint", [RESPONSES, MESSAGES, EMBEDDINGS, CHAT, COMPLETIONS])
@given(st.data())
def test_no_body_is_a_fault_of_ours(endpoint: Endpoint, data: st.DataObject) -> None:
    """Any JSON object is authorised or refused; nothing else is ever raised."""
    names = st.sampled_from([*endpoint.fields, *endpoint.stateful, "api_base", "other"])
    body = data.draw(st.dictionaries(names, anything, max_size=4))
    least = LEAST.get(endpoint, {"model": "m", "messages": "a", "prompt": "a"})
    with suppress(InvalidRequestError):
        asked = authorise(endpoint, least | body)
        assert set(asked.fields) <= set(endpoint.fields)
        apply_release(asked.fields, RELEASE, endpoint)
