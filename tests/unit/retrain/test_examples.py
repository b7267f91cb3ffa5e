"""Reading curated JSONL."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.examples import (
    Message,
    for_template,
    parse_examples,
    text_of,
    with_system,
)
from serving.errors import InvalidRequestError


def lines(*rows: object) -> list[bytes]:
    """Return rows as the lines of a file."""
    return [json.dumps(row).encode() for row in rows]


def test_an_instruction_row_becomes_a_user_message() -> None:
    """The user message is the instruction, a blank line, the input."""
    [example] = parse_examples(
        lines({"instruction": "Name the queue.", "input": "Broken kettle", "output": "returns"}),
        "f",
    )
    assert example.prompt == (Message("user", "Name the queue.\n\nBroken kettle"),)
    assert example.answer_text == "returns"


def test_a_messages_row_keeps_its_turns_and_extras() -> None:
    """Turns, tools and the optional keys come through."""
    row = {
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
            {"role": "user", "content": "c"},
            {"role": "assistant", "tool_calls": [{"id": "1"}]},
        ],
        "tools": [{"type": "function"}],
        "group": "g",
        "at": "2026-01-02T03:04:05+01:00",
    }
    [example] = parse_examples(lines(row), "f")
    assert len(example.prompt) == 3
    assert example.group == "g"
    assert example.at is not None
    assert example.at.isoformat() == "2026-01-02T02:04:05+00:00"
    assert json.loads(example.answer_text) == [{"id": "1"}]


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"instruction": "x"},
        {"instruction": "", "output": "y"},
        {"instruction": "x", "output": ""},
        {"instruction": "x", "output": "y", "messages": []},
        {"messages": [{"role": "user", "content": "x"}]},
        {
            "messages": [
                {"role": "assistant", "content": "x"},
                {"role": "assistant", "content": "y"},
            ]
        },
        {"messages": [{"role": "user", "content": "x"}, {"role": "robot", "content": "y"}]},
        {"instruction": "x", "output": "y", "colour": "red"},
        {"instruction": "x\u0000", "output": "y"},
        [],
    ],
)
def test_a_bad_line_is_named_and_the_file_refused(row: object) -> None:
    """One bad line refuses the whole file and says which line it is."""
    good = {"instruction": "x", "output": "y"}
    with pytest.raises(InvalidRequestError, match="line 2: "):
        parse_examples(lines(good, row, good), "rows.jsonl")


def test_a_file_without_rows_is_refused() -> None:
    """Blank lines are no rows."""
    with pytest.raises(InvalidRequestError, match="no rows"):
        parse_examples([b"\n", b"  \n"], "empty.jsonl")


@given(st.binary(max_size=60))
def test_no_line_raises_anything_else(line: bytes) -> None:
    """Whatever the bytes: an example, or the one error."""
    try:
        parse_examples([line], "fuzz")
    except InvalidRequestError:
        return


def test_calls_of_tools_are_compared_and_trained_by_what_they_call() -> None:
    """Their chance ids do not count; templates get arguments read, as the engine reads them."""
    call = {"id": "x", "function": {"name": "f", "arguments": '{"b": 2, "a": 1}'}}
    turn = Message("assistant", tool_calls=[call])
    assert text_of(turn) == '[{"arguments":{"a":1,"b":2},"name":"f"}]'
    assert for_template(turn).tool_calls == [
        {"id": "x", "function": {"name": "f", "arguments": {"a": 1, "b": 2}}}
    ]
    broken = Message("assistant", tool_calls=[{"function": {"name": "f", "arguments": "{"}}])
    assert for_template(broken) == broken


@pytest.mark.parametrize(
    "line",
    [
        b'{"messages": ' + b"[" * 100_000,
        b'{"instruction": "x", "output": "y", "at": "0001-01-01T00:00:00+10:00"}',
    ],
)
def test_what_libraries_choke_on_is_a_bad_line_too(line: bytes) -> None:
    """Nesting without end, and a time before the first year."""
    with pytest.raises(InvalidRequestError, match="line 1: "):
        parse_examples([line], "f")


def test_the_system_prompt_comes_first_unless_there_is_one() -> None:
    """Anywhere, and under either name: as the gateway does."""
    asked = Message("user", "a")
    assert with_system([asked], "Be brief.") == [Message("system", "Be brief."), asked]
    for role in ("system", "developer"):
        own = [asked, Message(role, "Be long.")]
        assert with_system(own, "Be brief.") == own
