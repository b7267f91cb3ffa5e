"""An exchange: what it writes, and whether its client takes it; and when one is told to come back."""

import asyncio

import pytest

from gateway.http.exchange import Exchange
from gateway.http.headers import CLOSE_LINE, error_headers, lines_of
from gateway.http.reply import Reply
from serving.errors import RateLimitError
from tests.wire import KeptWire


class Clock:
    """The event loop's: it stands until a test moves it."""

    def __init__(self, now: float) -> None:
        self.now = now

    async def move(self, seconds: float) -> None:
        """Let time pass, and all that is due by then happen."""
        self.now += seconds
        for _ in range(5):  # a timer rings in one turn of the loop, whom it wakes runs in the next
            await asyncio.sleep(0)


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The test's own time: however busy the machine is, none passes unasked."""
    loop = asyncio.get_running_loop()
    found = Clock(loop.time())
    monkeypatch.setattr(loop, "time", lambda: found.now)
    return found


async def begin_to_send(wire: KeptWire, piece: bytes) -> asyncio.Task[None]:
    """Return the sending of a piece that the client does not take yet."""
    wire.flow.pause_writing()
    sending = asyncio.create_task(wire.exchange.send(piece))
    await asyncio.sleep(0)
    return sending


async def test_patience_begins_anew_with_every_piece(clock: Clock) -> None:
    """However long an answer takes: only a piece that is not taken ends it."""
    wire = KeptWire(unread_seconds=60)
    wire.exchange.start(200, b"")
    for _ in range(4):
        sending = await begin_to_send(wire, b"a")
        await clock.move(59)
        wire.flow.resume_writing()
        await sending
    await clock.move(61)  # the engine's silence is nobody's fault here
    await wire.exchange.send(b"b")
    sending = await begin_to_send(wire, b"c")
    await clock.move(61)
    assert sending.cancelled()
    assert wire.exchange.is_gone
    assert wire.transport.is_closed
    assert wire.body == b"1\r\na\r\n" * 4 + b"1\r\nb\r\n"


async def test_nothing_is_sent_at_once_to_a_client_that_is_slow() -> None:
    """It waits its turn behind what the client has still to take."""
    wire = KeptWire()
    wire.exchange.start(200, b"")
    assert wire.exchange.send_at_once(b"a")
    wire.flow.pause_writing()
    assert not wire.exchange.send_at_once(b"b")
    assert wire.body == b"1\r\na\r\n"
    assert wire.exchange.num_sent == 1


async def test_nothing_overtakes_a_piece_that_waits() -> None:
    """The client reads again, and who sends has not noticed yet: a ping may come just then."""
    wire = KeptWire()
    wire.exchange.start(200, b"")
    sending = await begin_to_send(wire, b"a")
    wire.flow.resume_writing()
    assert not wire.exchange.send_at_once(b"b")
    await sending
    assert wire.exchange.send_at_once(b"c")
    assert wire.body == b"1\r\na\r\n1\r\nc\r\n"


async def test_a_cancellation_from_elsewhere_stays_one() -> None:
    """The server's, at its end: it is not the client that has gone."""
    wire = KeptWire()
    waiting = asyncio.create_task(wire.exchange.run_asgi(wait_for_ever))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not wire.exchange.is_gone
    assert wire.transport.is_closed


async def test_a_client_that_hangs_up_ends_its_request() -> None:
    """Before it begins, too; and nobody else hears of it."""
    for num_steps in range(2):
        wire = KeptWire()
        waiting = asyncio.create_task(wire.exchange.run_asgi(wait_for_ever))
        for _ in range(num_steps):
            await asyncio.sleep(0)
        wire.exchange.lose_client()
        await waiting
        assert wire.exchange.is_gone


async def test_an_answer_is_as_long_as_was_announced() -> None:
    """Or the client would take the next one for its rest."""
    for piece in (b"abc", b"a"):
        wire = KeptWire()
        wire.exchange.start(200, b"", 2)
        with pytest.raises(ValueError, match="announced"):
            await wire.exchange.send(piece, is_last=True)


async def test_only_a_header_closes_a_connection() -> None:
    """Not the same words within another one, which a client would not take for it."""
    kept = lines_of([(b"content-type", b"text/plain; connection: close")])
    for lines, is_kept in ((kept, True), (kept + CLOSE_LINE, False), (CLOSE_LINE + kept, False)):
        wire = KeptWire()
        wire.exchange.start(200, lines, 0)
        await wire.exchange.send(b"", is_last=True)
        assert wire.exchange.keep_alive is is_kept
        assert wire.transport.written.count(b"\r\n" + CLOSE_LINE) == (0 if is_kept else 1)


async def test_who_waits_to_be_asked_for_a_body_and_is_not_sends_no_other_request() -> None:
    """Or nobody could tell the next request from that body."""
    wire = KeptWire()
    wire.exchange = Exchange(wire, {}, keep_alive=True, expects_continue=True)
    await Reply(wire.exchange).fail(RateLimitError("Too many."))
    assert b"connection: close\r\n" in wire.transport.written
    assert wire.transport.is_closed


async def test_old_clients_get_no_chunks() -> None:
    """HTTP/1.0 knows none: the end of the connection is the end of the answer."""
    wire = KeptWire()
    exchange = Exchange(wire, {}, keep_alive=False, expects_continue=False, takes_chunks=False)
    exchange.start(200, b"")
    await exchange.send(b"a")
    await exchange.send(b"b", is_last=True)
    assert wire.body == b"ab"
    assert b"chunked" not in wire.transport.written
    assert wire.transport.is_closed


async def test_an_answer_that_was_only_begun_can_become_an_error() -> None:
    """Such as a disk that fails before the first byte is out."""
    wire = KeptWire()
    reply = Reply(wire.exchange)
    reply.start_whole(200, b"", 2)
    assert reply.status is None
    await reply.fail(RateLimitError("Too many."))
    assert wire.transport.written.startswith(b"HTTP/1.1 429")
    assert reply.status == 429


def test_no_header_becomes_two() -> None:
    """Not even if one of ours were taken from a client."""
    for value in (b"a\r\nb: c", b"a\nb", b"a\r", b"\ra", b"a\n", b"\n\r", b"\r\n"):
        with pytest.raises(ValueError, match="line end"):
            lines_of([(b"x", value)])


async def wait_for_ever(exchange: Exchange) -> None:
    """Answer nothing."""
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("wait", "told"), [(0.0, b"1"), (0.2, b"1"), (1.0, b"1"), (1.2, b"2"), (2.5, b"3")]
)
def test_nobody_is_told_to_come_back_too_early(wait: float, told: bytes) -> None:
    """Retry-After knows whole seconds only: they are rounded up, and never 0."""
    error = RateLimitError("Too many.", retry_after=wait)
    assert error_headers(error) == [(b"retry-after", told)]


async def test_an_error_that_nobody_is_left_to_hear_is_none() -> None:
    """The transport is closed already: nothing is raised, or a bug would be reported."""
    wire = KeptWire()
    wire.transport.close()
    await Reply(wire.exchange).fail(RateLimitError("Too many."))
    assert wire.transport.written == b""
