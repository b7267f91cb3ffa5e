"""One request and its answer, as the data path sees them: bytes in, bytes out, and a client that may go.

uvicorn's own cycle speaks ASGI: a message is a dict, and only a task that waits for one learns that
the client has hung up. Here the handler is the task, and it is cancelled when the client hangs up
or leaves unread what it is sent. That, and heads written in one go, took a third off the CPU of a
plain request.

The attributes without a docstring are uvicorn's: its protocol reads and sets them.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from gateway.http.headers import CLOSE_LINE, SECURITY_LINES, Headers

logger = logging.getLogger("strop.gateway")

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_CHUNK: Final = b"%x\r\n%b\r\n"
_LAST_CHUNK: Final = b"0\r\n\r\n"
_NO_CONTENT: Final = 204


class Wire(Protocol):
    """The connection that an exchange is on."""

    transport: asyncio.Transport
    flow: FlowControl
    client: tuple[str, int] | None
    unread_seconds: float
    """How long a client may leave unread what was sent to it."""

    @property
    def default_lines(self) -> bytes:
        """The headers that the server adds to every answer."""

    def close(self, *, is_body_due: bool) -> None:
        """Close when the answer is out; `is_body_due`: the client may still be sending its body."""

    def on_response_complete(self) -> None:
        """Take the next request."""


class Exchange:
    """A request and its answer.

    Args:
        wire: its connection.
        headers: the request's.
        keep_alive: whether the connection may take another request.
        expects_continue: whether the client waits to be asked for the body.
        takes_chunks: whether it knows HTTP/1.1.
    """

    def __init__(
        self,
        wire: Wire,
        headers: Headers,
        *,
        keep_alive: bool,
        expects_continue: bool,
        takes_chunks: bool = True,
    ) -> None:
        self.headers = headers
        """The request's."""
        self.status: int | None = None
        """Which status was sent; None: nothing was."""
        self.num_sent = 0
        """Pieces of the answer's body."""
        self.body = bytearray()
        self.more_body = True
        self.message_event = asyncio.Event()
        self.keep_alive = keep_alive
        self.disconnected = False
        self.response_complete = False
        self._wire = wire
        self._task: asyncio.Task[None] | None = None
        self._expects_continue = expects_continue
        self._takes_chunks = takes_chunks
        self._head = b""  # not written yet: it goes with the first piece
        self._head_status = 0
        self._is_draining = False
        self._num_left: int | None = None  # bytes that were announced and not sent, if any were

    @property
    def address(self) -> str:
        """The other end's."""
        client = self._wire.client
        return client[0] if client else "unknown"

    @property
    def is_gone(self) -> bool:
        """Whether the client hung up, or left its answer unread: whoever is cancelled may ask why."""
        return self.disconnected

    @property
    def response_started(self) -> bool:
        return self.status is not None

    async def run_asgi(self, handler: Callable[["Exchange"], Awaitable[None]]) -> None:
        """Have the request answered. (The name is uvicorn's.)"""
        if self.disconnected:
            return
        self._task = asyncio.current_task()
        try:
            await handler(self)
        except asyncio.CancelledError:
            if not self.disconnected:
                raise
        except Exception:
            logger.exception("A handler failed")
        finally:
            if not self.response_complete and not self.disconnected:
                self._wire.transport.close()

    def lose_client(self) -> None:
        """End what nobody waits for any more."""
        if self.response_complete or self.disconnected:
            return
        self.disconnected = True
        if self._task is not None:
            self._task.cancel()

    async def read_body(self, max_bytes: int) -> bytearray:
        """Return the request's body, once it is there; at most a piece more than `max_bytes`."""
        while self.more_body and len(self.body) <= max_bytes:
            if self._expects_continue:
                self._expects_continue = False
                self._wire.transport.write(_CONTINUE)
            self._wire.flow.resume_reading()
            self.message_event.clear()
            await self.message_event.wait()
        body, self.body = self.body, bytearray()
        return body

    def start(self, status: int, lines: bytes, num_bytes: int | None = None) -> None:
        """Begin the answer.

        Args:
            status: HTTP's.
            lines: its headers, as `lines_of` makes them; those that tell the body's length are added.
            num_bytes: that length, if it is known: then the head goes with the first piece, and
                until then another answer can be begun. Else it goes now, and the body in chunks.
        """
        self._head_status = status
        self._num_left = num_bytes
        if self._expects_continue and self.more_body:
            self.keep_alive = False  # nobody could tell whether that body still comes
        if lines.startswith(CLOSE_LINE) or b"\n" + CLOSE_LINE in lines:
            self.keep_alive = False
        elif not self.keep_alive:
            lines = lines + CLOSE_LINE
        if num_bytes is None:
            framing = b"transfer-encoding: chunked\r\n\r\n" if self._takes_chunks else b"\r\n"
        elif status == _NO_CONTENT:
            framing = b"\r\n"
        else:
            framing = b"content-length: %d\r\n\r\n" % num_bytes
        wire = self._wire
        head = (STATUS_LINE[status], wire.default_lines, lines, SECURITY_LINES, framing)
        self._head = b"".join(head)
        if num_bytes is None:
            self._write(b"")

    async def send(self, piece: bytes, *, is_last: bool = False) -> None:
        """Send a piece of the body. Waits while the client is slower than what comes."""
        if self._wire.flow.write_paused:
            await self._drain()
        if self._num_left is None:
            piece = self._framed(piece)
            if is_last and self._takes_chunks:
                piece += _LAST_CHUNK
        else:
            self._num_left -= len(piece)
            if self._num_left < 0 or (is_last and self._num_left):
                raise ValueError("the answer is not as long as was announced")
        self._write(piece)
        self.num_sent += 1
        if is_last:
            self.response_complete = True
            if not self.keep_alive:
                self._wire.close(is_body_due=self.more_body)
            self._wire.on_response_complete()

    def send_at_once(self, piece: bytes) -> bool:
        """Send a piece of a stream that has begun, unless the client is slow; return whether it was.

        The piece is not empty. This is done for every token, so nothing is called that need not be.
        """
        wire = self._wire
        if self._is_draining or wire.flow.write_paused:
            return False
        if not wire.transport.is_closing():
            framed = _CHUNK % (len(piece), piece) if self._takes_chunks else piece
            wire.transport.write(framed)
        self.num_sent += 1
        return True

    def _framed(self, piece: bytes) -> bytes:
        if not piece or not self._takes_chunks:
            return piece
        return _CHUNK % (len(piece), piece)

    def _write(self, piece: bytes) -> None:
        if self._head:
            piece, self._head = self._head + piece, b""
            self.status = self._head_status
        if piece and not self._wire.transport.is_closing():
            self._wire.transport.write(piece)

    async def _drain(self) -> None:
        self._is_draining = True  # what waits here is not to be overtaken
        try:
            async with asyncio.timeout(self._wire.unread_seconds):
                await self._wire.flow.drain()
        except TimeoutError as error:
            self.disconnected = True
            self._wire.transport.abort()
            raise asyncio.CancelledError from error
        finally:
            self._is_draining = False


def lose_client(cycle: RequestResponseCycle | Exchange) -> None:
    """Tell who answers a request, an exchange or an application, that nobody waits for it."""
    if isinstance(cycle, Exchange):
        cycle.lose_client()
    elif not cycle.response_complete:
        cycle.disconnected = True
        cycle.message_event.set()
