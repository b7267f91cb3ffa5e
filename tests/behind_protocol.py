"""An application of the test's own, behind the gateway's HTTP protocol: by ASGI, or by exchanges."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import uvicorn

from gateway.http.exchange import Exchange
from gateway.http.protocol import StrictProtocol
from gateway.http.routes import Handler, Routes
from tests.gateway import until


@dataclass
class App:
    """An application that reads its request, then answers when it may."""

    port: int = 0
    requests: list[dict[str, Any]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    num_gone: int = 0
    server: uvicorn.Server | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer with the path."""
        assert scope["type"] == "http"
        self.requests.append(scope)
        body = b""
        while (message := await receive()).get("more_body"):
            body += message["body"]
        self.bodies.append(body + message.get("body", b""))
        waiting = asyncio.create_task(self.may_answer.wait())
        while not waiting.done() and message["type"] != "http.disconnect":
            gone = asyncio.create_task(receive())
            await asyncio.wait({gone, waiting}, return_when=asyncio.FIRST_COMPLETED)
            message = gone.result() if gone.done() else message
            gone.cancel()
        waiting.cancel()
        if message["type"] == "http.disconnect":
            self.num_gone += 1
            return
        body = scope["path"].encode()
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def answer(self, method: bytes, url: bytes, exchange: Exchange) -> None:
        """Answer with the path, too."""
        headers = list(exchange.headers.items())
        self.requests.append({"method": method.decode(), "path": url.decode(), "headers": headers})
        try:
            self.bodies.append(bytes(await exchange.read_body(2**20)))
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.num_gone += exchange.is_gone
            raise
        exchange.start(200, b"", len(url))
        await exchange.send(url, is_last=True)

    @property
    def num_connections(self) -> int:
        """How many clients are connected."""
        assert self.server is not None
        return len(self.server.server_state.connections)

    async def send(self, data: bytes) -> bytes:
        """Send bytes; return all that comes back until the other side closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        async with asyncio.timeout(20):
            answer = await reader.read()
        writer.close()
        return answer


class AllRoutes(Routes):
    """Leaves nothing to ASGI."""

    def __init__(self, app: App) -> None:
        super().__init__()
        self._app = app

    def find(self, method: bytes, url: bytes) -> Handler:
        """Return the application's other side."""
        return partial(self._app.answer, method, url)


@asynccontextmanager
async def running(*, has_exchanges: bool = True, **limits: float) -> AsyncIterator[App]:
    """Run the application behind the protocol."""
    app = App()
    routes = AllRoutes(app) if has_exchanges else Routes()
    app.may_answer.set()
    config = uvicorn.Config(
        app,
        http=cast(type[asyncio.Protocol], partial(StrictProtocol, routes=routes, **limits)),
        ws="none",
        lifespan="off",
        log_config=None,
        timeout_graceful_shutdown=0,
    )
    listener = socket.create_server(("127.0.0.1", 0))
    app.port = listener.getsockname()[1]
    app.server = uvicorn.Server(config)
    app.server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    serving = asyncio.create_task(app.server.serve(sockets=[listener]))
    await until(lambda: app.server is not None and app.server.started)
    try:
        yield app
    finally:
        app.server.should_exit = True
        await serving
