"""Reading an answer: any cut of the same bytes says the same, and no bytes break it."""

from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.upstream.answer import MAX_HEAD_BYTES, AnswerReader
from gateway.upstream.errors import NOT_HTTP
from gateway.upstream.headers import AnswerHeaders
from serving.errors import EngineError
from tests.scale import examples

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
SIZED = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\n"


def read(pieces: Sequence[bytes]) -> AnswerReader:
    """Feed it all."""
    answer = AnswerReader()
    for piece in pieces:
        answer.feed(piece)
    return answer


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    """Cut `data` at these places."""
    ends = sorted({min(place, len(data)) for place in places} | {len(data)} - {0})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


@st.composite
def answers(draw: st.DrawFn) -> tuple[bytes, bytes, bool]:
    """A valid answer, its body, and whether it ends with the connection."""
    body = draw(st.lists(st.binary(min_size=1, max_size=40), max_size=6))
    whole = b"".join(body)
    interim = draw(st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n"]))
    kind = draw(st.sampled_from(["chunked", "sized", "until close"]))
    if kind == "chunked":
        trailer = draw(st.sampled_from([b"", b"x-check: 1\r\n"]))
        chunks = b"".join(b"%x;a=b\r\n%b\r\n" % (len(piece), piece) for piece in body)
        return interim + CHUNKED + chunks + b"0\r\n" + trailer + b"\r\n", whole, False
    if kind == "sized":
        return (
            interim + b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(whole) + whole,
            (whole),
            False,
        )
    return interim + UNTIL_CLOSE + whole, whole, True


@settings(max_examples=examples(60, full=2000))
@given(answers(), st.lists(st.integers(0, 400), max_size=30))
def test_the_body_is_the_same_wherever_it_is_cut(
    answer: tuple[bytes, bytes, bool], places: list[int]
) -> None:
    """The network cuts as it likes; status, body and end stay."""
    data, body, ends_with_connection = answer
    found = read(cut(data, places))
    assert found.is_complete is not ends_with_connection
    found.end()
    assert (found.status, found.take(), found.is_complete) == (200, body, True)
    assert found.is_last is ends_with_connection


@settings(max_examples=examples(60, full=2000))
@given(st.lists(answers(), min_size=2, max_size=4), st.lists(st.integers(0, 400), max_size=30))
def test_one_reader_reads_all_answers_of_a_connection(
    all_answers: list[tuple[bytes, bytes, bool]], places: list[int]
) -> None:
    """Each as if it were the first: nothing of the one before is left, whatever its form."""
    reader = AnswerReader()
    for data, body, ends_with_connection in all_answers:
        reader.begin()
        for piece in cut(data, places):
            reader.feed(piece)
        alone = read([data])
        assert (reader.status, reader.fields, reader.take()) == (200, alone.fields, body)
        assert (reader.is_complete, reader.is_last) == (alone.is_complete, alone.is_last)
        if ends_with_connection:
            return


@settings(max_examples=examples(60, full=2000))
@given(answers(), st.data())
def test_a_prefix_is_never_whole(answer: tuple[bytes, bytes, bool], data: st.DataObject) -> None:
    """What was cut short is not taken for complete, unless only the connection's end says so."""
    whole, _, ends_with_connection = answer
    found = read([whole[: data.draw(st.integers(0, len(whole) - 1))]])
    assert not found.is_complete
    found.end()
    assert not found.is_complete or ends_with_connection


PARTS = st.sampled_from(
    [
        CHUNKED,
        SIZED,
        b"HTTP/1.1 ",
        b"200 OK\r\n",
        b"\r\n",
        b"\r\n\r\n",
        b"0\r\n",
        b"5\r\nhello",
        b":",
    ]
)


@settings(max_examples=examples(100, full=2000))
@given(st.lists(st.one_of(st.binary(max_size=30), PARTS), max_size=12))
def test_garbage_is_an_engine_error_or_nothing(pieces: list[bytes]) -> None:
    """No bytes make it raise anything else, or take a body that no head announced."""
    answer = AnswerReader()
    with suppress(EngineError):
        for piece in pieces:
            answer.feed(piece)
    answer.end()
    assert answer.is_head_complete or not answer.num_buffered
    assert answer.is_head_complete or not answer.is_complete


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nbytes",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        b"HTTP/1.1 103 Hints\r\ncontent-length: 5\r\n\r\n",
        b"HTTP/1.1 099 Low\r\n\r\n",
        b"HTTP/1.1 600 High\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nname: value\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nname: a\rset-cookie: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nname: a\0b\r\n\r\n",
        b"HTTP/1.1 200 OK\nname: value\n\n",
        b"HTTP/1.1 200 OK\r\nname : value\r\n\r\n",
        CHUNKED + b"fffffffffffffffff\r\n",
        CHUNKED + b"2\r\nabc",
    ],
)
def test_what_http_forbids_is_refused(data: bytes) -> None:
    """Two readers could understand it differently, so nobody reads it."""
    with pytest.raises(EngineError) as caught:
        read([data])
    assert caught.value.code == NOT_HTTP


@pytest.mark.parametrize("status", [204, 304])
def test_some_statuses_have_no_body(status: int) -> None:
    """Whatever length they announce."""
    answer = read([b"HTTP/1.1 %d X\r\ncontent-length: 5\r\n\r\n" % status])
    assert (answer.status, answer.is_complete, answer.is_last) == (status, True, False)


def test_interim_answers_are_passed_over() -> None:
    """100 and 103 announce an answer; their headers are not its own."""
    answer = read([b"HTTP/1.1 103 Hints\r\nlink: x\r\n\r\nHTTP/1.1 100 Go\r\n\r\n", SIZED, b"ok"])
    assert (answer.status, answer.fields) == (200, {b"content-length": b"2"})
    assert answer.take() == b"ok"


@pytest.mark.parametrize("surplus", [b"!", SIZED, SIZED + b"no", b"\x00" * 100])
@pytest.mark.parametrize("is_apart", [True, False])
def test_bytes_after_the_end_make_it_the_last(surplus: bytes, is_apart: bool) -> None:
    """The answer stands; what follows could pass for the answer to the next call."""
    answer = read([SIZED + b"ok", surplus] if is_apart else [SIZED + b"ok" + surplus])
    assert (answer.take(), answer.is_complete, answer.is_last) == (b"ok", True, True)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n",
    ],
)
def test_the_engine_may_say_that_it_is_the_last(head: bytes) -> None:
    """By header or by version."""
    assert read([head + b"ok"]).is_last


@pytest.mark.parametrize(
    ("start", "line"),
    [
        (b"", b"HTTP/1.1 200 " + b"O" * 1000),
        (b"HTTP/1.1 200 OK\r\nname: ", b"v" * 1000),
        (b"HTTP/1.1 200 OK\r\n", b"name: value\r\n" * 100),
        (b"", b"HTTP/1.1 100 Continue\r\nname: value\r\n\r\n" * 25),
        (CHUNKED + b"0\r\n", b"name: value\r\n" * 100),
        (CHUNKED + b"5;", b"x" * 1000),
        (b"", b"\r\n" * 500),
    ],
)
def test_a_head_or_trailer_that_never_ends_is_refused(start: bytes, line: bytes) -> None:
    """Memory is bounded whatever comes that is not body."""
    with pytest.raises(EngineError):
        read([start, *[line] * (2 * MAX_HEAD_BYTES // 1000)])


def test_a_huge_head_in_one_read_is_refused() -> None:
    """The limit does not depend on the cut."""
    name = b"name: " + b"v" * MAX_HEAD_BYTES
    with pytest.raises(EngineError, match="longer than 65536 bytes"):
        read([b"HTTP/1.1 200 OK\r\n" + name + b"\r\ncontent-length: 0\r\n\r\n"])


def test_a_long_stream_of_split_chunks_is_no_head() -> None:
    """Chunk sizes in reads of their own add up over hours, and are no offence."""
    answer = read([CHUNKED])
    for _ in range(MAX_HEAD_BYTES // 2):
        answer.feed(b"1\r\n")
        answer.feed(b"x\r\n")
    assert answer.num_buffered == MAX_HEAD_BYTES // 2


def taken_of(answer: AnswerReader, data: bytes) -> list[bytes]:
    """Return what a taker that takes everything gets of the data that comes next."""
    taken: list[bytes] = []

    def take(piece: bytes) -> bool:
        taken.append(piece)
        return True

    assert answer.feed(data, take) is bool(taken)
    return taken


def test_a_taker_gets_a_piece_of_the_middle_at_once() -> None:
    """And only once."""
    answer = read([CHUNKED])
    assert taken_of(answer, b"2\r\nab\r\n") == [b"ab"]
    assert answer.is_body_begun
    assert (answer.num_buffered, answer.take()) == (0, b"")


def test_a_taker_gets_nothing_else() -> None:
    """Not the end, not several pieces, nothing before what waits, and no line that ends a piece."""
    assert taken_of(read([CHUNKED]), b"2\r\nab\r\n0\r\n\r\n") == []
    assert taken_of(read([CHUNKED]), b"1\r\na\r\n1\r\nb\r\n") == []
    assert taken_of(read([CHUNKED, b"1\r\na\r\n"]), b"1\r\nb\r\n") == []
    assert taken_of(read([CHUNKED, b"1\r\na"]), b"\r\n") == []


def test_what_a_taker_leaves_waits() -> None:
    """For whoever reads."""
    answer = read([CHUNKED])
    assert not answer.feed(b"2\r\nab\r\n", lambda _: False)
    assert (answer.num_buffered, answer.take()) == (2, b"ab")


def test_what_came_before_a_fault_can_be_read() -> None:
    """In the same piece of data, too."""
    answer = read([CHUNKED])
    with pytest.raises(EngineError):
        answer.feed(b"2\r\nab\r\nno length\r\n")
    assert (answer.num_buffered, answer.take()) == (2, b"ab")


def test_headers_are_found_in_any_case() -> None:
    """Names ignore case, values lose the space around them, several are one."""
    answer = read(
        [b"HTTP/1.1 200 OK\r\nA: b \r\nX-Two: 1\r\nx-two: 2\r\ncontent-length: 0\r\n\r\n"]
    )
    headers = AnswerHeaders(answer.fields)
    assert headers["a"] == headers["A"] == "b"
    assert headers.get("X-TWO") == "1, 2"
    assert list(headers) == ["a", "x-two", "content-length"]
    assert len(headers) == 3
