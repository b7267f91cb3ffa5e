"""One connection to an engine: calls one after the other, each read to its end or the last.

Only the task that makes the call ever waits on it, so one future is enough: whatever happens wakes
that task, and it looks what is new.
"""

import asyncio
from collections.abc import Iterable
from typing import Final, cast

from gateway.upstream import errors
from gateway.upstream.alarm import Alarm
from gateway.upstream.answer import Answer
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
        self.idle_since = 0.0
        """When its last call ended, in the loop's time."""
        self.lost_the_race = False
        """Whether the engine closed it for idleness just when a request was sent."""
        self._living = living
        self._loop = asyncio.get_running_loop()
        self._alarm = Alarm(self._give_up)
        self._closed = asyncio.Event()
        self._transport: asyncio.Transport
        self._failure: EngineError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._answer: Answer | None = None
        self._asked_at = 0.0
        self._is_first_call = True
        self._is_request_sent = False
        self._is_reading_paused = False
        self._is_writing_paused = False

    @property
    def is_usable(self) -> bool:
        """Whether nothing speaks against another call."""
        return self._failure is None and self._answer is None

    async def ask(self, pieces: Iterable[bytes | memoryview], due: float) -> Answer:
        """Send a request; return its answer once the head is there.

        An engine may answer before it has read all, with a refusal: then the rest stays unsent.

        Args:
            pieces: what to write, piece by piece.
            due: until when to wait, in the loop's time.

        Raises:
            EngineTimeoutError: no head by then.
            EngineError: the engine went away, or sent no HTTP.
        """
        assert self.is_usable
        answer = self._answer = Answer()
        self._asked_at = self._loop.time()
        self._is_request_sent = await self._send(pieces, answer, due)
        while not answer.is_head_complete:
            await self._wait(due)
        return answer

    async def read(self, due: float) -> bytes:
        """Return what has come of the body, at least a byte; b"" at its end.

        Args:
            due: until when to wait, in the loop's time.

        Raises:
            EngineTimeoutError: nothing by then.
            EngineError: the engine went away before the end, or sent no HTTP.
        """
        answer = self._answer
        assert answer is not None
        while not answer.num_buffered:
            if answer.is_complete:
                return b""
            await self._wait(due)
        self._resume_reading()
        return answer.take()

    def finish(self) -> bool:
        """End the call; return whether the connection is fit for another one."""
        answer, self._answer = self._answer, None
        self._is_first_call = False
        self._resume_reading()
        self.idle_since = self._loop.time()
        return (
            answer is not None
            and answer.is_complete
            and not answer.is_last
            and self._is_request_sent
            and self._failure is None
            and self._transport.get_write_buffer_size() == 0
        )

    def abort(self) -> None:
        """Close at once, whatever is under way: the engine hears of it, and may stop its work."""
        self._fail(errors.went_away())

    async def wait_closed(self) -> None:
        """Wait until the socket is gone."""
        await self._closed.wait()

    async def _send(self, pieces: Iterable[bytes | memoryview], answer: Answer, due: float) -> bool:
        """Write no faster than the engine reads; return whether all was written."""
        for piece in pieces:
            while self._is_writing_paused and not answer.is_head_complete:
                await self._wait(due)
            if answer.is_head_complete or self._failure is not None:
                return False
            self._transport.write(piece)
        return True

    async def _wait(self, due: float) -> None:
        """Wait until something happens; raise what ended the connection, if that did."""
        if self._failure is not None:
            raise self._failure
        self._alarm.set(due)
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

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
        if self._is_reading_paused and not self._transport.is_closing():
            self._transport.resume_reading()
        self._is_reading_paused = False

    # What follows is called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the transport.

        That is not the beginning of the connection's life: when a connect is cancelled just now,
        uvloop closes the socket and never calls `connection_lost`.
        """
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Read on, and no further when the reader lags; what nobody asked for ends it all."""
        answer = self._answer
        if answer is None:
            self.abort()
            return
        try:
            answer.feed(data)
        except EngineError as error:
            self._fail(error)
            return
        if answer.num_buffered > _MAX_BUFFERED_BYTES:
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
        self._is_writing_paused = True

    def resume_writing(self) -> None:
        """Write on."""
        self._is_writing_paused = False
        self._wake()

    def _end(self, reason: Exception | None) -> None:
        if self._failure is not None:
            return
        self._failure = errors.went_away()
        self._failure.__cause__ = reason
        answer = self._answer
        if answer is not None:
            if reason is None:
                answer.end()
            self.lost_the_race = (
                not self._is_first_call
                and not answer.is_begun
                and self._loop.time() - self._asked_at < _RACE_SECONDS
            )
        self._wake()
