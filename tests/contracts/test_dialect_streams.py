"""Streams of every dialect pass through untouched, however they are cut, and end when they end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.responses import RESPONSES
from gateway.inference.events import EventFilter
from tests.contracts.dialect_streams import NAMES, WHOLE, endpoint_of, stream_of
from tests.unit.gateway.test_events import cut, run


@pytest.mark.parametrize("name", NAMES)
@given(st.lists(st.integers(0, 20_000), max_size=40))
def test_any_cutting_is_byte_identical(name: str, cuts: list[int]) -> None:
    """Whatever the network does, what goes on is what came, and the record knows how it ended."""
    stream = stream_of(name)
    events = EventFilter(endpoint_of(name), drops_usage=False)
    assert run(events, cut(stream, cuts)) == stream
    assert (events.is_done, events.is_failed) == (True, name == "messages-failed")
    assert (events.usage is not None) is (name in WHOLE)


@pytest.mark.parametrize("name", NAMES)
def test_an_end_is_an_end_only_when_it_is_whole(name: str) -> None:
    """Up to the last byte the answer may still fail."""
    stream = stream_of(name)
    events = EventFilter(endpoint_of(name), drops_usage=False)
    events.feed(stream[:-1])
    assert not events.is_done
    events.feed(stream[-1:])
    assert events.is_done


def test_an_end_that_repeats_a_long_answer_is_still_the_end() -> None:
    """The last event of a response may be megabytes long; its usage stands at its end."""
    stream = stream_of("responses-text").replace(b"Monday", b"Monday" * 100_000)
    events = EventFilter(RESPONSES, drops_usage=False)
    pieces = [events.feed(stream[at : at + 10_000]) for at in range(0, len(stream), 10_000)]
    assert b"".join(pieces) == stream
    assert events.is_done
    assert b'"input_tokens":21' in (events.usage or b"")


def test_time_to_the_first_token_is_to_a_token() -> None:
    """A response is announced, twice, before the model has said anything."""
    events = EventFilter(RESPONSES, drops_usage=False)
    announced, _, said = stream_of("responses-text").partition(b"event: response.output_item.added")
    events.feed(announced)
    assert events.num_events == 0
    events.feed(b"event: response.output_item.added" + said)
    assert events.num_events > 0
