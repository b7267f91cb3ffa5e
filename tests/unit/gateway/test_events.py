"""Server-sent events pass through byte by byte, less the one event that only we asked for."""

import tracemalloc
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.chat import CHAT
from gateway.inference.events import EventFilter

USAGE = b'data: {"id":"chatcmpl-1","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}'
DONE = b"data: [DONE]"
LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])

text = st.text(st.characters(blacklist_characters="\r\n", blacklist_categories=["Cs"]), max_size=12)
lines = st.one_of(
    text.map(lambda found: b"data: " + found.encode()),
    text.map(lambda found: b": " + found.encode()),
    st.sampled_from(
        [
            b'data: {"choices":[{"delta":{"content":"\xe2\x80\xa8[DONE]"}}],"usage":null}',
            b'data: {"choices":[{"delta":{"content":"\\"choices\\":[],\\"usage\\":{}"}}]}',
            b'data: {"choices":[],"usage":null}',
            b'data: {"choices":[],"prompt_filter_results":[]}',
            b"event: ping",
        ]
    ),
)
bodies = st.lists(st.lists(lines, min_size=1, max_size=3), max_size=6)


def cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    """Cut a stream at the given positions."""
    places = sorted({place % (len(stream) + 1) for place in cuts})
    edges = [0, *places, len(stream)]
    return [stream[a:b] for a, b in pairwise(edges)]


def run(filter_: EventFilter, chunks: list[bytes]) -> bytes:
    """Return all that comes out."""
    return b"".join([filter_.feed(chunk) for chunk in chunks] + [filter_.finish()])


@given(
    bodies,
    LINE_ENDS,
    st.lists(st.integers(0, 10_000), max_size=40),
    st.integers(0, 6),
    st.booleans(),
)
def test_any_cutting_is_byte_identical_less_the_usage_event(
    events: list[list[bytes]], end: bytes, cuts: list[int], place: int, has_usage: bool
) -> None:
    """Whatever the cuts and line ends, what comes out is what went in, less that one event."""
    whole = [end.join(lines) + end + end for lines in events] + [DONE + end + end]
    place = min(place, len(whole))
    usage = [USAGE + end + end] if has_usage else []
    stream = b"".join(whole[:place] + usage + whole[place:])
    filter_ = EventFilter(CHAT, drops_usage=True)
    assert run(filter_, cut(stream, cuts)) == b"".join(whole)
    assert (filter_.usage is not None) is has_usage
    assert filter_.is_done


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=20))
def test_any_bytes_pass_through_untouched(stream: bytes, cuts: list[int]) -> None:
    """What is no event stream at all passes through as it is."""
    assert run(EventFilter(CHAT, drops_usage=True), cut(stream, cuts)) == stream


@given(bodies, LINE_ENDS, st.lists(st.integers(0, 10_000), max_size=40), st.booleans())
def test_a_token_is_what_would_go_on_as_it_came(
    events: list[list[bytes]], end: bytes, cuts: list[int], has_usage: bool
) -> None:
    """Whoever passes it on without feeding it misses nothing but the count."""
    whole = [end.join(lines) + end + end for lines in events] + [DONE + end + end]
    chunks = [USAGE + end + end] * has_usage + [b for event in whole for b in cut(event, cuts)]
    filter_ = EventFilter(CHAT, drops_usage=True)
    for chunk in chunks:
        is_token, before = filter_.is_token(chunk), filter_.num_events
        passed = filter_.feed(chunk)
        if is_token:
            assert passed == chunk
            assert filter_.num_events == before + 1
            assert filter_.is_between_events


def test_a_token_comes_alone_and_whole() -> None:
    """Anything else is looked at more closely."""
    token = b'data: {"choices":[{}]}\n\n'
    filter_ = EventFilter(CHAT, drops_usage=True)
    assert filter_.is_token(token)
    for other in (token + token, token[:-1], token.replace(b"\n", b"\r\n"), USAGE + b"\n\n"):
        assert not filter_.is_token(other)
    filter_.feed(b"data: half")
    assert not filter_.is_token(token)
    filter_.feed(b"\n\n" + DONE + b"\n\n")
    assert not filter_.is_token(token)


def test_usage_that_the_client_asked_for_stays_and_is_read() -> None:
    """The usage event is kept for the record either way; it goes on if the client wanted it."""
    filter_ = EventFilter(CHAT, drops_usage=False)
    assert run(filter_, [USAGE + b"\n\n"]) == USAGE + b"\n\n"
    assert filter_.usage == USAGE.removeprefix(b"data: ")


def test_a_whole_event_goes_on_at_once() -> None:
    """Nothing waits for the next event: a token is with the client when it is here."""
    filter_ = EventFilter(CHAT, drops_usage=True)
    for event in (b'data: {"choices":[{}]}\n\n', b'data: {"choices":[{}]}\r\n\r\n'):
        assert filter_.feed(event) == event
    assert filter_.num_events == 2


def test_a_huge_event_is_not_held_together() -> None:
    """An event far longer than any usage event flows on while it comes."""
    filter_ = EventFilter(CHAT, drops_usage=True)
    event = b"data: " + b"x" * 300_000 + b"\n\n"
    pieces = [filter_.feed(event[at : at + 50_000]) for at in range(0, len(event), 50_000)]
    assert sum(map(len, pieces[:-1])) > 150_000
    assert b"".join(pieces) == event


def test_an_event_without_end_is_not_kept() -> None:
    """Of one that is far too long to be read, some of the beginning is; the next is read again."""
    filter_, piece, num_pieces = EventFilter(CHAT, drops_usage=True), bytes(2**18), 200
    tracemalloc.start()
    passed = sum(len(filter_.feed(piece)) for _ in range(num_pieces))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 20 * 2**20 < passed
    passed += len(filter_.feed(b"\n\n"))
    assert passed == len(piece) * num_pieces + 2
    assert run(filter_, [USAGE + b"\n\n"]) == b""
    assert filter_.usage is not None


def test_an_engine_error_inside_a_stream_is_seen() -> None:
    """vLLM reports a failure in mid-stream as an event; the record says so."""
    filter_ = EventFilter(CHAT, drops_usage=True)
    filter_.feed(b'data: {"error": {"message": "engine dead"}}\n\ndata: [DONE]\n\n')
    assert filter_.is_failed
    assert filter_.is_done
