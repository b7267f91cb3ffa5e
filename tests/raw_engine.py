"""An engine that says exactly the bytes it is told, for what no sane server would send."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from tests.upstream_server import Fault

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


class RawEngine:
    """Where it listens, and how many are connected."""

    def __init__(self, talks: tuple[Talk, ...], host: str) -> None:
        self.host = f"[{host}]" if ":" in host else host
        self.port = 0
        self.scheme = "http"
        self.num_connections = 0
        self.num_open = 0
        self.stop_listening: Callable[[], None] = lambda: None
        """Refuse new connections; those that are open stay."""
        self._talks = talks
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        """A place to post to."""
        return f"{self.scheme}://{self.host}:{self.port}/v1/completions"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Talk as the script says: the last one goes on for all later connections."""
        talk = self._talks[min(self.num_connections, len(self._talks) - 1)]
        self.num_connections += 1
        self.num_open += 1
        self._writers.add(writer)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await talk(reader, writer)
        finally:
            self.num_open -= 1
            self._writers.discard(writer)
            writer.close()

    def hang_up(self) -> None:
        """Close every connection."""
        for writer in self._writers:
            writer.transport.abort()


@asynccontextmanager
async def raw_engine(
    *talks: Talk, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[RawEngine]:
    """Run one on a free port; the first connection gets the first talk, and so on."""
    engine = RawEngine(talks, host)
    server = await asyncio.start_server(engine.serve, host, 0, ssl=tls)
    engine.port = server.sockets[0].getsockname()[1]
    engine.scheme = "https" if tls else "http"
    engine.stop_listening = server.close
    try:
        yield engine
    finally:
        server.close()
        engine.hang_up()
        await server.wait_closed()


def says(*pieces: bytes | float | Fault) -> Talk:
    """Answer each request with these pieces, each in a write of its own; a number is a pause."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await hear(reader):
            for piece in pieces:
                if not await _say(piece, reader, writer):
                    return

    return talk


def says_once(*pieces: bytes | float | Fault) -> Talk:
    """Answer one request, then close."""
    return says(*pieces, Fault.END)


async def stays_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read whatever comes and say nothing."""
    while await reader.read(2**16):
        pass


async def hear(reader: asyncio.StreamReader) -> bytes:
    """Read one request; b"" when the other side has closed."""
    with suppress(asyncio.IncompleteReadError):
        head = await reader.readuntil(b"\r\n\r\n")
        num_bytes = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
        return head + await reader.readexactly(num_bytes)
    return b""


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST, as a killed process whose socket held unread bytes does."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _say(
    piece: bytes | float | Fault, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    """Do one thing; return whether the connection goes on."""
    if isinstance(piece, bytes):
        writer.write(piece)
        await writer.drain()
        return True
    if piece is Fault.STALL:
        await reader.read(1)
        return False
    if piece is Fault.RESET:
        reset(writer)
        return False
    if piece is Fault.END:
        return False
    await asyncio.sleep(piece)
    return True
