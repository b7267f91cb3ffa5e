"""Every dialect's answers make rows that people and training read as the same chat."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.journal.answers import Usage, assemble
from serving.store.inferences import choice_of, messages_of, readable_answer, tools_of
from tests.contracts.dialect_streams import (
    CALLS,
    DATA,
    NAMES,
    SAID,
    WHOLE,
    inference_of,
    row_of,
    stream_of,
    without_chance,
)


@pytest.mark.parametrize("name", WHOLE)
def test_a_stream_and_an_answer_in_one_piece_make_the_same_row(name: str) -> None:
    """Answer and usage: nobody can tell from the row how it came."""
    streamed = row_of(stream_of(name), is_sse=True)
    plain = row_of((DATA / f"{name}.json").read_bytes(), is_sse=False)
    found, expected = (without_chance(json.loads(row["response"])) for row in (streamed, plain))
    assert found == expected
    for column in ("prompt_tokens", "completion_tokens"):
        assert streamed[column] == plain[column] > 0


@pytest.mark.parametrize("name", ["messages-text", "responses-text"])
def test_a_text_is_read_as_a_chats(name: str) -> None:
    """The first choice, with its text, and that it is whole."""
    inference = inference_of(name, stream_of(name))
    assert readable_answer(inference) == SAID
    assert choice_of(inference)["message"]["role"] == "assistant"
    assert choice_of(inference)["finish_reason"] == "stop"


@pytest.mark.parametrize("name", ["messages-tools", "responses-tools"])
def test_thoughts_and_calls_are_read_as_a_chats(name: str) -> None:
    """What was thought, said and called in one answer is one turn."""
    choice = choice_of(inference_of(name, stream_of(name)))
    message = choice["message"]
    for call in message["tool_calls"]:
        call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    assert message == {
        "role": "assistant",
        "reasoning": "The user asks.",
        "content": "Let me look.",
        "tool_calls": CALLS,
    }
    assert choice["finish_reason"] != "length"


def test_words_around_a_call_are_one_text() -> None:
    """Anthropic's blocks keep their order, a chat's message has one text."""
    blocks = [
        {"type": "text", "text": "One"},
        {"type": "tool_use"},
        {"type": "text", "text": " two"},
    ]
    body = {"content": blocks, "stop_reason": "end_turn"}
    inference = inference_of("messages-text", json.dumps(body).encode(), is_sse=False)
    assert readable_answer(inference) == "One two"


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_cut_anywhere_is_a_partial_answer(name: str) -> None:
    """What came is kept, it is the beginning of the whole, and it does not pass for it."""
    stream = stream_of(name)
    whole = readable_answer(inference_of(name, stream))
    for size in range(0, len(stream) - 40, 97):
        inference = inference_of(name, stream[:size])
        choice = choice_of(inference)
        if isinstance(content := choice.get("message", {}).get("content"), str):
            assert whole.startswith(content)
        assert (
            not choice or choice["finish_reason"] == "length" or b"message_delta" in stream[:size]
        )


def test_a_cut_for_length_is_told_from_a_whole_answer() -> None:
    """It is reviewed, and never learned from."""
    choice = choice_of(inference_of("responses-cut", stream_of("responses-cut")))
    assert choice["finish_reason"] == "length"


def test_an_engines_error_stands_beside_what_was_said() -> None:
    """As it does in a chat."""
    answer = assemble(stream_of("messages-failed"))
    assert answer is not None
    assert answer["error"]["type"] == "internal_error"
    assert answer["content"] == [{"type": "text", "text": "It left on"}]


def test_what_came_from_a_cache_counts_as_prompt() -> None:
    """Anthropic counts it apart; a row has one number."""
    body = {
        "usage": {"input_tokens": 3, "cache_read_input_tokens": 20, "output_tokens": 5},
        "content": [],
    }
    row = row_of(json.dumps(body).encode(), is_sse=False)
    assert Usage(row["prompt_tokens"], row["completion_tokens"]) == Usage(23, 5)


QUESTIONS: list[tuple[str, dict[str, Any]]] = [
    (
        "messages-text",
        {
            "system": [{"type": "text", "text": "Be kind."}],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Where is it?"}]},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "text", "text": "Let me look."},
                        {"type": "tool_use", "id": "c1", "name": "find", "input": {"id": 7}},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "c1", "content": "Monday"},
                        {"type": "text", "text": "Well?"},
                    ],
                },
            ],
            "tools": [{"name": "find", "description": "F.", "input_schema": {"type": "object"}}],
        },
    ),
    (
        "responses-text",
        {
            "instructions": "Be kind.",
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "Where is it?"}]},
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": "Let me look."}],
                },
                {
                    "type": "function_call",
                    "call_id": "c1",
                    "name": "find",
                    "arguments": '{"id": 7}',
                },
                {"type": "function_call_output", "call_id": "c1", "output": "Monday"},
                {"role": "user", "content": "Well?"},
            ],
            "tools": [
                {
                    "type": "function",
                    "name": "find",
                    "description": "F.",
                    "parameters": {"type": "object"},
                }
            ],
        },
    ),
]


@pytest.mark.parametrize(("name", "request_"), QUESTIONS)
def test_a_question_is_read_as_a_chats(name: str, request_: dict[str, Any]) -> None:
    """System prompt, turns, calls and what they gave, tools: the same whatever the dialect."""
    inference = inference_of(name, b"", is_sse=False, **request_)
    function = {"name": "find", "arguments": '{"id": 7}'}
    assert messages_of(inference) == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Where is it?"},
        {
            "role": "assistant",
            "content": "Let me look.",
            "tool_calls": [{"id": "c1", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "Monday"},
        {"role": "user", "content": "Well?"},
    ]
    parameters = {"name": "find", "description": "F.", "parameters": {"type": "object"}}
    assert tools_of(inference) == [{"type": "function", "function": parameters}]


KINDS = st.sampled_from(
    [
        "message_start",
        "message_delta",
        "content_block_start",
        "content_block_delta",
        "response.created",
        "response.completed",
        "response.output_item.done",
        "response.output_text.delta",
        "response.function_call_arguments.delta",
        "error",
    ]
)
KEYS = st.sampled_from(
    [
        "type",
        "response",
        "message",
        "delta",
        "index",
        "output_index",
        "content_block",
        "item",
        "content",
        "output",
        "usage",
        "error",
        "text",
        "partial_json",
        "role",
        "arguments",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.text(max_size=3) | KINDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=12,
)


@given(st.lists(st.dictionaries(KEYS, JSON, max_size=5), max_size=4), KINDS, st.sampled_from(NAMES))
def test_no_shapes_raise(events: list[dict[str, Any]], first: str, name: str) -> None:
    """An engine may send any JSON at all, and rows may hold it."""
    stream = b"".join(
        b"data: " + json.dumps(event).encode() + b"\n\n"
        for event in [{"type": first, "response": {}}, *events]
    )
    inference = inference_of(name, stream)
    json.dumps(choice_of(inference))
    readable_answer(inference)
    assert isinstance(messages_of(inference), list)
