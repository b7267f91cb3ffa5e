"""No client at all, in an `Upstream`'s place: what event loop and sockets take by themselves."""

import asyncio
from collections.abc import Mapping
from typing import cast

from gateway.upstream.protocol import Deadlines, Taker, UpstreamResponse
from serving.target import parse_target


class BareUpstream:
    """Writes a request and reads whatever comes, until it ends with one of these bytes."""

    def __init__(self, ends: tuple[bytes, ...]) -> None:
        self._ends = ends
        self._idle: list[_Socket] = []

    async def open(
        self, url: str, headers: Mapping[str, str], body: bytes, deadlines: Deadlines
    ) -> UpstreamResponse:
        """Send `body`; wait for nothing."""
        target = parse_target(url)
        if not self._idle:
            _, fresh = await asyncio.get_running_loop().create_connection(
                lambda: _Socket(self._idle, self._ends), target.origin.host, target.origin.port
            )
            self._idle.append(fresh)
        socket = self._idle.pop()
        socket.send(b"POST %b HTTP/1.1\r\n\r\n%b" % (target.path.encode(), body))
        return socket

    async def close(self) -> None:
        """Leave it to the process's end."""


class _Socket(asyncio.Protocol):
    status = 200
    headers: Mapping[str, str] = {}

    def __init__(self, idle: list["_Socket"], ends: tuple[bytes, ...]) -> None:
        self._idle = idle
        self._ends = ends
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._waiter: asyncio.Future[None] | None = None
        self._came = b""
        self._is_over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._came += data
        self._is_over = data.endswith(self._ends)
        if self._waiter is not None:
            self._waiter.set_result(None)
            self._waiter = None

    def send(self, request: bytes) -> None:
        self._is_over = False
        self._transport.write(request)

    async def read(self, taker: Taker | None = None) -> bytes:
        if not self._came and not self._is_over:
            self._waiter = self._loop.create_future()
            await self._waiter
        came, self._came = self._came, b""
        return came

    def close(self) -> None:
        self._idle.append(self)
