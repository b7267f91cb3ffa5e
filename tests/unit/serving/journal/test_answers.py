"""Streams put together: the answer that a client without streaming would have got."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.journal.answers import Usage, assemble, split_events, usage_of
from tests.scale import examples

TEXTS = st.text(st.characters(exclude_categories=()), max_size=40)
LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@st.composite
def answers(draw: st.DrawFn) -> dict[str, Any]:
    """Draw what /v1/chat/completions may answer."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": "support-v1-0a1b2c3d",
        "choices": [draw(choices(index)) for index in range(draw(st.integers(1, 3)))],
        "usage": {"prompt_tokens": draw(st.integers(0, 99)), "completion_tokens": 7},
    }


@st.composite
def choices(draw: st.DrawFn, index: int) -> dict[str, Any]:
    """Draw one choice, with what a message may hold."""
    message: dict[str, Any] = {"role": "assistant", "content": draw(st.none() | TEXTS)}
    if draw(st.booleans()):
        message["reasoning_content"] = draw(TEXTS)
    if draw(st.booleans()):
        message["tool_calls"] = [
            {"id": f"call-{n}", "type": "function", "function": {"name": "f", "arguments": text}}
            for n, text in enumerate(draw(st.lists(TEXTS, min_size=1, max_size=3)))
        ]
    logprobs = draw(st.none() | st.lists(st.builds(dict, token=TEXTS), min_size=1, max_size=3))
    return {
        "index": index,
        "message": message,
        "logprobs": logprobs and {"content": logprobs},
        "finish_reason": draw(st.sampled_from(["stop", "length", "tool_calls"])),
    }


def cut(draw: st.DrawFn, text: str) -> list[str]:
    """Cut a text anywhere, between the halves of a surrogate pair too."""
    first, second = sorted(draw(st.tuples(*[st.integers(0, len(text))] * 2)))
    return [text[:first], text[first:second], text[second:]]


def deltas_of(draw: st.DrawFn, choice: dict[str, Any]) -> list[dict[str, Any]]:
    """Say a choice in pieces, as an engine does."""
    message = choice["message"]
    deltas: list[dict[str, Any]] = [{"delta": {"role": "assistant", "content": None}}]
    for key in ("reasoning_content", "content"):
        if message.get(key) is not None:
            deltas += [{"delta": {key: piece}} for piece in cut(draw, message[key])]
    for number, call in enumerate(message.get("tool_calls", [])):
        head = {**call, "index": number, "function": {**call["function"], "arguments": ""}}
        deltas.append({"delta": {"tool_calls": [head]}})
        for piece in cut(draw, call["function"]["arguments"]):
            tail = {"index": number, "function": {"arguments": piece}}
            deltas.append({"delta": {"tool_calls": [tail]}})
    for logprob in (choice["logprobs"] or {}).get("content", []):
        deltas.append({"delta": {}, "logprobs": {"content": [logprob]}})
    deltas.append({"delta": {}, "finish_reason": choice["finish_reason"]})
    empty = {"index": choice["index"], "logprobs": None, "finish_reason": None}
    return [empty | delta for delta in deltas]


def to_event(draw: st.DrawFn, chunk: dict[str, Any]) -> bytes:
    """Write an event in one of the ways that the format allows."""
    end = draw(LINE_ENDS)
    data = json.dumps(chunk, ensure_ascii=True, indent=draw(st.none() | st.just(0))).encode()
    lines = [b"data:" + draw(st.sampled_from([b"", b" "])) + line for line in data.split(b"\n")]
    if draw(st.booleans()):
        lines.insert(0, b": ping")
    return end.join(lines) + end + end


@settings(max_examples=examples(20, full=500))
@given(st.data())
def test_a_streamed_answer_comes_back(data: st.DataObject) -> None:
    """However an answer is cut into events, and the events written, it is put together again."""
    answer = data.draw(answers())
    pending = [deltas_of(data.draw, choice) for choice in answer["choices"]]
    head = {key: answer[key] for key in ("id", "created", "model")}
    head["object"] = "chat.completion.chunk"
    stream = b""
    while any(pending):  # choices come interleaved
        mine = data.draw(st.sampled_from([deltas for deltas in pending if deltas]))
        stream += to_event(data.draw, {**head, "choices": [mine.pop(0)]})
    stream += to_event(data.draw, {**head, "choices": [], "usage": answer["usage"]})
    stream += data.draw(st.sampled_from([b"", b"data: [DONE]", b"data: [DONE]\n\n"]))
    found = assemble(stream)
    # Halves of a surrogate pair join when the text is written.
    assert json.dumps(found, sort_keys=True) == json.dumps(answer, sort_keys=True)


@given(st.data())
def test_a_partial_stream_is_a_partial_answer(data: st.DataObject) -> None:
    """Wherever a stream was cut, what came whole before is there, and nothing raises."""
    words = [f"word{number} " for number in range(5)]
    events = [
        b'data: {"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"%b"}}]}'
        % word.encode()
        for word in words
    ]
    stream = b"\n\n".join(events)
    size = data.draw(st.integers(0, len(stream)))
    num_whole = sum(size >= len(b"\n\n".join(events[: n + 1])) for n in range(len(events)))
    answer = assemble(stream[:size])
    if num_whole == 0:
        assert answer is None
    else:
        assert answer is not None
        assert answer["choices"][0]["message"]["content"] == "".join(words[:num_whole])


@given(st.binary(max_size=300))
def test_no_bytes_raise(stream: bytes) -> None:
    """An upstream may send anything."""
    assemble(stream)
    assemble(b"data: " + stream)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "delta", "index", "content", "tool_calls", "usage", "function"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.lists(st.fixed_dictionaries({"choices": JSON, "object": JSON}), max_size=4))
def test_no_shapes_raise(chunks: list[Any]) -> None:
    """Nor does JSON of the wrong shape."""
    stream = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)
    json.dumps(assemble(stream))
    usage_of(assemble(stream))


def test_completions_are_put_together() -> None:
    """/v1/completions streams `text`, and lists of log-probabilities under names of its own."""
    chunks = [
        {"choices": [{"index": 0, "text": text, "logprobs": {"tokens": [text]}}], "object": "o"}
        for text in ("to", "day")
    ]
    stream = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)
    assert assemble(stream) == {
        "object": "o",
        "choices": [{"index": 0, "text": "today", "logprobs": {"tokens": ["to", "day"]}}],
    }


def test_an_error_in_the_middle_is_kept() -> None:
    """What the engine said when it failed stands beside what it had answered before."""
    stream = (
        b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
        b'data: {"error":{"message":"out of memory"}}\n\n'
    )
    answer = assemble(stream)
    assert answer is not None
    assert answer["error"] == {"message": "out of memory"}
    assert answer["choices"][0]["message"]["content"] == "a"


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_only_real_line_ends_end_lines(end: bytes) -> None:
    """U+2028, U+0085 and vertical tab are text; several data lines are one event."""
    text = "a\u2028b\u0085c\x0bd".encode()
    stream = end.join([b": hi", b"event: x", b"data: " + text, b"data:two", b"", b"data: three"])
    assert list(split_events(stream)) == [text + b"\ntwo", b"three"]


@pytest.mark.parametrize(
    ("answer", "usage"),
    [
        ({"usage": {"prompt_tokens": 3, "completion_tokens": 5}}, Usage(3, 5)),
        ({"usage": {"prompt_tokens": 2**31, "completion_tokens": True}}, Usage()),
        ({"usage": None}, Usage()),
        ([], Usage()),
        (None, Usage()),
    ],
)
def test_usage_is_what_a_column_can_hold(answer: Any, usage: Usage) -> None:
    """Counts of no sense count as not said."""
    assert usage_of(answer) == usage
