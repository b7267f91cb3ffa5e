"""Records to rows: whatever crossed the wire, PostgreSQL takes it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.journal.rows import begin_row, end_row, feedback_row, json_text
from tests.journal import make_begin, make_end, make_feedback


@given(st.binary(max_size=50) | st.sampled_from([b"NaN", b"[1e999]", b'"\\ud800"', b"[" * 10**5]))
def test_every_body_becomes_json(body: bytes) -> None:
    """A body that is JSON keeps its text; any other becomes a JSON string."""
    text = json_text(body)
    if text is None:
        assert body == b""
    else:
        json.loads(text)
        assert text.encode() == body or isinstance(json.loads(text), str)


def test_json_keeps_its_own_text() -> None:
    """Spaces, order, doubled keys and escapes of a body stay."""
    body = '{ "b": 1, "a": "\\u0000", "b": 2 }'
    assert json_text(body.encode()) == body


def test_a_stream_is_put_together() -> None:
    """A streamed answer is stored as the answer; halves of a surrogate pair do not stop it."""
    stream = b'data: {"choices":[{"index":0,"delta":{"content":"\\ud83d"}}]}\n\n'
    row = end_row(make_end(make_begin(), response=stream, is_sse=True))
    assert json.loads(row.response)["choices"][0]["message"]["content"] == "\ud83d"
    row.response.encode()


def test_a_stream_that_is_none_is_kept_as_it_came() -> None:
    """An error page in place of a stream is kept as text."""
    row = end_row(make_end(make_begin(), response=b"<html>", is_sse=True))
    assert json.loads(row.response) == "<html>"


def test_texts_lose_their_nul() -> None:
    """TEXT columns cannot hold NUL."""
    assert begin_row(make_begin(subject="a\0b"), "w-1").subject == "ab"


def test_what_has_no_day_is_no_row() -> None:
    """An id that is none of ours, and a time that is none, are refused, not guessed."""
    with pytest.raises(ValueError, match=r"."):
        begin_row(make_begin(id="x"), "w-1")
    with pytest.raises(ValueError, match=r"."):
        feedback_row(make_feedback(make_begin(), given_at_ms=10**30))
