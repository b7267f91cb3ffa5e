"""What a request may ask of an engine."""

import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.chat import CHAT
from gateway.dialects.completions import COMPLETIONS
from gateway.policy.fields import authorise
from serving.errors import InvalidRequestError

CONVERSATION = [{"role": "user", "content": "Hello"}]


WIDE = {"enum": ["a"] * 4990}  # a schema of nearly the size that one may have


def chat(**fields: Any) -> dict[str, Any]:
    """Return a chat's body."""
    return {"model": "base", "messages": CONVERSATION, **fields}


def schema_format(schema: Any) -> dict[str, Any]:
    """Return a `response_format` with a schema."""
    return {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}


def test_known_fields_go_on_and_unknown_ones_are_named() -> None:
    """`ignored` names what stays behind, if the name is fit for a header."""
    asked = authorise(CHAT, chat(temperature=0.5, store=True, **{"a\r\nb": 1, "n": None}))
    assert asked.fields == {"messages": CONVERSATION, "temperature": 0.5}
    assert asked.ignored == ("store",)
    assert asked.model == "base"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("chat_template", "{{ 1 }}"),
        ("chat_template_kwargs", {}),
        ("documents", []),
        ("media_io_kwargs", {}),
        ("mm_processor_kwargs", {}),
        ("priority", 1),
        ("vllm_xargs", {}),
        ("guided_regex", "(a+)+b"),
        ("guided_json", {}),
        ("allowed_token_ids", [1]),
        ("cache_salt", "x"),
        ("request_id", "x"),
        ("api_base", "http://127.0.0.1"),
        ("base_url", "http://127.0.0.1"),
        ("api_key", "x"),
        ("custom_llm_provider", "x"),
        ("prompt_embeds", "AAAA"),
        ("structured_outputs", {"regex": "a"}),
        ("structured_outputs", {"grammar": "a"}),
        ("n", 0),
        ("n", 9),
        ("n", True),
        ("n", 1.5),
        ("temperature", "hot"),
        ("temperature", -0.1),
        ("top_logprobs", 6),
        ("logprobs", 3),
        ("max_tokens", -1),
        ("max_tokens", 10**12),
        ("stop", ["a"] * 5),
        ("stop", "x" * 65),
        ("logit_bias", {str(token): 1 for token in range(301)}),
        ("logit_bias", {"a": 1}),
        ("logit_bias", {"1": 1000}),
        ("tools", [{"type": "function", "function": {"name": "f"}}] * 65),
        ("tools", [{"type": "function", "function": {}}]),
        ("messages", []),
        ("messages", "Hello"),
        ("messages", [{"role": "user", "content": "a"}] * 1001),
        ("messages", [{"role": "user", "content": [{"type": "text", "text": "a"}] * 5}] * 820),
        ("messages", [{"role": "assistant", "tool_calls": [{}] * 5}] * 820),
        ("messages", [{"role": "wizard", "content": "a"}]),
        ("messages", [{"content": "a"}]),
        ("user", "a\0b"),
        ("user", "x" * 513),
        ("model", ["base"]),
        ("model", None),
        ("stream", "yes"),
        ("seed", 2**70),
        ("response_format", {"type": "structural_tag"}),
        ("response_format", schema_format({"type": "strange"})),
        ("response_format", schema_format({"type": "string", "pattern": "a" * 257})),
        ("response_format", schema_format({"type": "string", "pattern": 5})),
        ("response_format", schema_format({"enum": ["a"] * 6000})),
        ("response_format", schema_format({"maximum": 10**30})),
        ("response_format", schema_format({"patternProperties": {"a": {}}})),
        ("tools", [{"type": "function", "function": {"name": "f", "parameters": WIDE}}] * 5),
        ("tools", [{"type": "web_search"}]),
        ("tool_choice", "always"),
        ("stop_token_ids", [1, 2.5]),
    ],
)
def test_what_hurts_is_refused_by_name(field: str, value: Any) -> None:
    """400, and `param` says which field it was."""
    with pytest.raises(InvalidRequestError) as caught:
        authorise(CHAT, chat(**{field: value}))
    assert (caught.value.param or "").startswith(field)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/",
        "https://example.org/a.png",
        "HTTP://127.0.0.1",
        "file:///etc/passwd",
        "//example.org/a.png",
        " http://127.0.0.1",
    ],
)
@pytest.mark.parametrize("kind", ["image_url", "video_url", "audio_url"])
def test_nothing_is_fetched_from_elsewhere(kind: str, url: str) -> None:
    """Media comes inside the request, or not at all."""
    part = {"type": kind, kind: {"url": url}}
    with pytest.raises(InvalidRequestError) as caught:
        authorise(CHAT, chat(messages=[{"role": "user", "content": [part]}]))
    assert caught.value.param == f"messages[0].content[0].{kind}.url"


@pytest.mark.parametrize(
    "part",
    [
        {"image_url": "http://127.0.0.1/a.png"},
        {"type": "image_embeds", "image_embeds": "AAAA"},
        {"type": "text", "text": "a", "image_url": {"url": "http://127.0.0.1"}},
    ],
)
def test_a_part_is_what_its_type_says_and_nothing_else(part: dict[str, Any]) -> None:
    """No part without a known type; keys of other types do not ride along."""
    body = chat(messages=[{"role": "user", "content": [part]}])
    try:
        fields = authorise(CHAT, body).fields
    except InvalidRequestError:
        return
    assert fields["messages"][0]["content"] == [{"type": "text", "text": "a"}]


def test_deep_nesting_is_refused() -> None:
    """What a schema compiler would have to recurse into has a bottom."""
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(40):
        schema = {"type": "object", "properties": {"a": schema}}
    with pytest.raises(InvalidRequestError):
        authorise(CHAT, chat(response_format=schema_format(schema)))


def test_a_property_may_have_any_name() -> None:
    """`type` and `pattern` are keywords only where the language has keywords."""
    schema = {
        "type": "object",
        "properties": {"type": {"type": "string", "pattern": "^a"}, "pattern": {"enum": ["("]}},
        "default": {"type": "no schema"},
    }
    body = chat(response_format=schema_format(schema))
    assert authorise(CHAT, body).fields["response_format"]["json_schema"]["schema"] == schema


def test_tool_calls_of_earlier_turns_come_along() -> None:
    """A conversation with tools goes on as it was."""
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "5", "tool_call_id": "c1"},
    ]
    sent = authorise(CHAT, chat(messages=messages)).fields["messages"]
    assert sent[0] == {"role": "assistant", "tool_calls": [call]}
    assert sent[1] == messages[1]


def test_names_that_depend_on_each_other_are_no_keywords() -> None:
    """A property may be called like one."""
    schema = {
        "properties": {"type": {}, "pattern": {}},
        "dependentRequired": {"type": ["pattern"]},
        "dependencies": {"pattern": ["type"]},
    }
    body = chat(response_format=schema_format(schema))
    assert authorise(CHAT, body).fields["response_format"]["json_schema"]["schema"] == schema


@pytest.mark.parametrize(
    ("message", "sent"),
    [
        ({"content": "a", "role": "user"}, {"role": "user", "content": "a"}),
        ({"role": "user", "content": "a", "x": 1}, {"role": "user", "content": "a"}),
        ({"role": "user", "content": "a", "name": None}, {"role": "user", "content": "a"}),
        ({"role": "user", "content": "a", "name": "b"}, None),
        ({"role": "assistant", "x": "a"}, {"role": "assistant"}),
        ({"role": "assistant", "content": None}, {"role": "assistant"}),
    ],
)
def test_only_known_fields_of_a_message_go_on(
    message: dict[str, Any], sent: dict[str, Any] | None
) -> None:
    """However few it has; `sent` None: all."""
    assert authorise(CHAT, chat(messages=[message])).fields["messages"] == [sent or message]


@pytest.mark.parametrize("prompt", ["a", ["a", "b"], [1, 2, 3], [[1], [2]]])
def test_prompts_of_completions(prompt: Any) -> None:
    """A text, tokens, or several of either."""
    assert authorise(COMPLETIONS, {"model": "m", "prompt": prompt}).fields["prompt"] == prompt


@pytest.mark.parametrize("prompt", [5, [], [[]], [True], [-1], [["a"]], {"a": 1}, ["a"] * 65])
def test_bad_prompts_of_completions(prompt: Any) -> None:
    """Anything else is refused."""
    with pytest.raises(InvalidRequestError):
        authorise(COMPLETIONS, {"model": "m", "prompt": prompt})


DEEP = {"type": "object", "properties": {"a": {"anyOf": [{"type": "string"}, {"type": "odd"}]}}}


@pytest.mark.parametrize(
    ("field", "value", "path"),
    [
        (
            "messages",
            [*CONVERSATION, {"role": "user", "content": [{"type": "x"}]}],
            "[1].content[0].type",
        ),
        ("messages", [{"role": "user", "content": [{"type": "text"}]}], "[0].content[0].text"),
        ("messages", [{"role": "tool", "name": 5}], "[0].name"),
        (
            "messages",
            [{"role": "assistant", "tool_calls": ["a", ["a"] * 100]}],
            "[0].tool_calls[1]",
        ),
        ("response_format", schema_format(DEEP), ".json_schema.schema.properties.a.anyOf[1].type"),
        ("tools", [{"type": "function", "function": {"name": 5}}], "[0].function.name"),
        ("logit_bias", {"7": 101}, ".7"),
        ("stream_options", {"include_usage": 1}, ".include_usage"),
        ("structured_outputs", {"choice": ["a", 1]}, ".choice[1]"),
    ],
)
def test_a_refusal_names_the_place(field: str, value: Any, path: str) -> None:
    """`param` leads to the value at fault, however deep, and the message names it."""
    with pytest.raises(InvalidRequestError) as caught:
        authorise(CHAT, chat(**{field: value}))
    assert caught.value.param == field + path
    assert f"`{field}{path}` must be " in caught.value.message


def test_a_body_has_so_many_fields() -> None:
    """Looking at names takes time too."""
    with pytest.raises(InvalidRequestError, match="fields"):
        authorise(CHAT, chat(**{f"x{number}": 1 for number in range(300)}))


def test_a_million_tokens_hold_up_nobody() -> None:
    """One by one they took half a second, in which one process answers no one else."""
    body = {"model": "m", "prompt": [1] * 2**20}
    begun_at = time.thread_time()
    authorise(COMPLETIONS, body)
    assert time.thread_time() - begun_at < 0.25


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*CHAT.fields, "model", "api_base", "other"]), anything))
def test_no_body_is_a_fault_of_ours(body: dict[str, Any]) -> None:
    """Any JSON object is authorised or refused; nothing else is ever raised."""
    with suppress(InvalidRequestError):
        asked = authorise(CHAT, {"model": "m", "messages": CONVERSATION} | body)
        assert set(asked.fields) <= set(CHAT.fields)
