"""The client's side of a request: noticing that it hung up, and answering it."""

import asyncio
from collections.abc import Awaitable, Iterable
from contextlib import suppress
from math import ceil
from types import TracebackType
from typing import Self

import msgspec
from litestar.types import Message, Receive, Send

from gateway.dialects.endpoint import Endpoint
from gateway.upstream.alarm import Alarm
from serving.errors import StropError

RawHeaders = list[tuple[bytes, bytes]]

SECURITY_HEADERS: dict[str, str] = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "content-security-policy": (
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}
_RAW_SECURITY_HEADERS: RawHeaders = [
    (name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items()
]


class ClientGoneError(Exception):
    """The client hung up. Nobody is left to answer; never leaves the data path."""


class WhileConnected:
    """Cancels its block when the client hangs up, as `asyncio.timeout` does when time is up.

    Neither Litestar nor uvicorn tells a handler that waits for something else than the client.

    Raises:
        ClientGoneError: on leaving the block, in place of the cancellation.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._is_gone = False
        self._num_cancellations = 0
        self._task: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        self._task = asyncio.current_task()
        assert self._task is not None
        self._num_cancellations = self._task.cancelling()
        self._watcher = asyncio.create_task(self._watch())

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._task is not None
        assert self._watcher is not None
        self._watcher.cancel()
        if not self._is_gone:
            return
        # Cancelled from elsewhere as well (shutdown): then that counts.
        is_ours = self._task.uncancel() <= self._num_cancellations
        if is_ours and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise ClientGoneError from error

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._is_gone = True
        assert self._task is not None
        self._task.cancel()


class Patience:
    """Waits until the client has taken what is sent, for so many seconds each time.

    One timer for all pieces of an answer: `asyncio.timeout` would make one for each.

    Raises:
        ClientGoneError: on a call: it took nothing.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._alarm = Alarm(self._give_up)
        self._task: asyncio.Task[None] | None = None
        self._num_cancellations = 0
        self._is_waiting = False
        self._is_over = False

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        assert self._task is not None
        self._num_cancellations = self._task.cancelling()
        return self

    def __exit__(self, *_: object) -> None:
        self._alarm.close()

    async def __call__(self, sending: Awaitable[None]) -> None:
        """Await `sending`."""
        self._alarm.set(self._loop.time() + self._seconds)
        self._is_waiting = True
        try:
            await sending
        except asyncio.CancelledError as error:
            if self._is_only_late():
                raise ClientGoneError from error
            raise
        finally:
            self._is_waiting = False

    def _give_up(self) -> None:
        if self._is_waiting:
            assert self._task is not None
            self._is_over = True
            self._task.cancel()

    def _is_only_late(self) -> bool:
        """Whether nobody else wants this to end, as the client's watcher and the server may."""
        assert self._task is not None
        return self._is_over and self._task.uncancel() <= self._num_cancellations


class Reply:
    """One answer on its way to the client."""

    def __init__(self, send: Send, endpoint: Endpoint | None = None) -> None:
        self.headers: RawHeaders = []
        """Sent along whatever the answer is, an error too."""
        self._endpoint = endpoint or Endpoint()
        self._send = send
        self.status: int | None = None
        """Which status was sent; None: nothing was."""
        self._is_stream = False

    async def start_stream(self, status: int, headers: RawHeaders) -> None:
        """Send the head of an answer that comes piece by piece."""
        self._is_stream = True
        await self._start(status, headers)

    async def start_whole(self, status: int, headers: RawHeaders, num_bytes: int) -> None:
        """Send the head of an answer whose length is known."""
        await self._start(status, [*headers, (b"content-length", b"%d" % num_bytes)])

    async def pass_on(self, piece: bytes) -> None:
        """Send a piece. Waits while the client is slower than the engine."""
        await self._emit({"type": "http.response.body", "body": piece, "more_body": True})

    async def end(self, piece: bytes = b"") -> None:
        """Send the last piece."""
        await self._emit({"type": "http.response.body", "body": piece, "more_body": False})

    async def send_nothing(self) -> None:
        """Answer 204, which has no body and so no length of one."""
        await self._start(204, [])
        await self.end()

    async def send_json(
        self, status: int, body: object, headers: Iterable[tuple[bytes, bytes]] = ()
    ) -> None:
        """Send a JSON answer in one piece."""
        kind = (b"content-type", b"application/json")
        content = msgspec.json.encode(body)
        await self.start_whole(status, [kind, *headers], len(content))
        await self.end(content)

    async def fail(self, error: StropError) -> None:
        """Tell the client of an error, if it is still there: as the answer, or a stream's last event."""
        with suppress(ClientGoneError):
            if self.status is None:
                body = self._endpoint.error_body(error)
                await self.send_json(error.status, body, error_headers(error))
            elif self._is_stream:
                # No last event after it: an answer cut short must not look whole.
                await self.pass_on(self._endpoint.error_event(error))
                await self.end()

    async def _start(self, status: int, headers: RawHeaders) -> None:
        self.status = status
        head = [*headers, *self.headers, *_RAW_SECURITY_HEADERS]
        await self._emit({"type": "http.response.start", "status": status, "headers": head})

    async def _emit(self, message: Message) -> None:
        """Hand a message to the server, whose transport may be closed under it already.

        Raises:
            ClientGoneError: it is.
        """
        try:
            await self._send(message)
        except (RuntimeError, OSError) as error:
            raise ClientGoneError from error


def error_headers(error: StropError) -> RawHeaders:
    """Return the headers that HTTP asks for beside an error's body."""
    headers: RawHeaders = []
    if error.status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="strop"'))
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, ceil(error.retry_after))))
    if error.status == 413 or error.code == "body_timeout":
        # The rest of the body is still on its way, or never comes.
        headers.append((b"connection", b"close"))
    return headers
