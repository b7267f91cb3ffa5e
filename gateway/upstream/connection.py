"""One connection to an engine: calls one after the other, each read to its end or the last.

Only the task that makes the call ever waits on it, so one future is enough: whatever happens wakes
that task, and it looks what is new; only a piece of the body that its taker takes does not.
"""

import asyncio
from typing import Final, cast

from gateway.alarm import Alarm
from gateway.upstream import errors
from gateway.upstream.answer import AnswerReader
from gateway.upstream.protocol import Deadlines, Taker
from serving.errors import EngineError
from serving.target import Origin

# A reader this far behind stops the reading, and so, at last, the engine's writing.
_MAX_BUFFERED_BYTES: Final = 256 * 1024

# An engine that closes an idle connection while a request is on its way there shows within a round
# trip. One that closes it later had the request, and may have died of it.
_RACE_SECONDS: Final = 1.0


class Connection(asyncio.Protocol):
    """An open connection; it takes itself out of `living` when it is none any more."""

    def __init__(self, origin: Origin, living: set["Connection"]) -> None:
        self.origin = origin
        self.answer = AnswerReader()
        """What has come in answer to the call."""
        self.is_request_sent = False
        """Whether all of the call's request is written."""
        self.is_writing_paused = False
        """Whether the engine is behind with reading it."""
        self.lost_the_race = False
        """Whether the engine closed it for idleness just when a request was sent."""
        self._loop = asyncio.get_running_loop()
        self._living = living
        self._alarm = Alarm(self._give_up)
        self._closed = asyncio.Event()
        self._transport: asyncio.Transport
        self._failure: EngineError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._taker: Taker | None = None
        self._deadlines: Deadlines
        self._called_at = 0.0
        self._due = 0.0
        self._idle_since = 0.0
        self._is_called = False
        self._is_first_call = True
        self._is_reading_paused = False

    @property
    def is_usable(self) -> bool:
        """Whether nothing speaks against another call."""
        return self._failure is None and not self._is_called

    def is_fresh(self, seconds: float) -> bool:
        """Whether nothing does, and its last call ended less than `seconds` ago."""
        return self.is_usable and self._loop.time() - self._idle_since < seconds

    def begin(self, deadlines: Deadlines) -> None:
        """Begin a call."""
        assert not self._is_called
        self.answer.begin()
        self._deadlines = deadlines
        self._called_at = self._loop.time()
        self._due = self._called_at + deadlines.first_byte
        self.is_request_sent = False
        self._is_called = True

    def write(self, piece: bytes | memoryview) -> None:
        """Send this, unless the connection has ended."""
        if self._failure is None:
            self._transport.write(piece)

    def expect_piece(self) -> None:
        """Have the next piece of the body due: by when depends on whether there was one."""
        if self.answer.is_body_begun:
            self._due = self._loop.time() + self._deadlines.idle

    def wait(self, taker: Taker | None = None) -> asyncio.Future[None]:
        """Return what is done as soon as something happens.

        Args:
            taker: is offered what comes of the body until then; what it takes is no happening.

        Raises:
            EngineTimeoutError: it was waited for in vain.
            EngineError: the engine went away, or sent no HTTP.
        """
        if self._failure is not None:
            raise self._failure
        self._alarm.set(self._due)
        self._taker = taker
        self._waiter = self._loop.create_future()
        return self._waiter

    def take(self) -> bytes:
        """Return what has come of the answer's body since the last time."""
        if self._is_reading_paused:
            self._resume_reading()
        return self.answer.take()

    def finish(self) -> bool:
        """End the call; return whether the connection is fit for another one."""
        self._is_called = False
        self._is_first_call = False
        self._idle_since = self._loop.time()
        if self._is_reading_paused:
            self._resume_reading()
        return (
            self.answer.is_complete
            and not self.answer.is_last
            and self.is_request_sent
            and self._failure is None
            and self._transport.get_write_buffer_size() == 0
        )

    def abort(self) -> None:
        """Close at once, whatever is under way: the engine hears of it, and may stop its work."""
        self._fail(errors.went_away())

    async def wait_closed(self) -> None:
        """Wait until the socket is gone."""
        await self._closed.wait()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        self._taker = None  # the next piece would overtake one that is not passed on yet
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _give_up(self) -> None:
        if self._waiter is not None:
            self._fail(errors.timed_out())

    def _fail(self, failure: EngineError) -> None:
        """Be of no more use. What has come of an answer may still be read."""
        if self._failure is None:
            self._failure = failure
        self._transport.abort()
        self._wake()

    def _pause_reading(self) -> None:
        if not self._is_reading_paused and not self._transport.is_closing():
            self._transport.pause_reading()
            self._is_reading_paused = True

    def _resume_reading(self) -> None:
        self._is_reading_paused = False
        if not self._transport.is_closing():
            self._transport.resume_reading()

    # What follows is called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the transport.

        That is not the beginning of the connection's life: when a connect is cancelled just now,
        uvloop closes the socket and never calls `connection_lost`.
        """
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Read on, and no further when the reader lags; what nobody asked for ends it all."""
        if not self._is_called:
            self.abort()
            return
        try:
            is_taken = self.answer.feed(data, self._taker)
        except EngineError as error:
            self._fail(error)
            return
        if is_taken:
            self._due = self._loop.time() + self._deadlines.idle
            self._alarm.set(self._due)
            return
        if self.answer.num_buffered > _MAX_BUFFERED_BYTES:
            self._pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """Note the engine's last byte. The transport closes itself then; no call needs its half."""
        self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop living."""
        self._end(exc)
        self._alarm.close()
        self._living.discard(self)
        self._closed.set()

    def pause_writing(self) -> None:
        """Write no more for now: the engine does not read."""
        self.is_writing_paused = True

    def resume_writing(self) -> None:
        """Write on."""
        self.is_writing_paused = False
        self._wake()

    def _end(self, reason: Exception | None) -> None:
        if self._failure is not None:
            return
        self._failure = errors.went_away()
        self._failure.__cause__ = reason
        if self._is_called:
            if reason is None:
                self.answer.end()
            self.lost_the_race = (
                not self._is_first_call
                and not self.answer.is_begun
                and self._loop.time() - self._called_at < _RACE_SECONDS
            )
        self._wake()
