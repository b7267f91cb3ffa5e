"""CPU per chunk and per call of our upstream client beside aiohttp's: `python -m tests.bench.upstream`.

The engine is a process of its own that writes bytes made beforehand. Each client runs in its own
process too, on uvloop, in turns, so that what the machine does besides falls on all alike. The third
one, "bare", is no client: it understands nothing, and shows what event loop and sockets take alone.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import closing
from typing import Any, cast

import uvloop

from gateway.upstream.client import SocketUpstream
from gateway.upstream.protocol import Deadlines, Upstream
from tests.bench.bare_upstream import BareUpstream
from tests.contracts.aiohttp_upstream import AiohttpUpstream

DEADLINES = Deadlines(first_byte=30, idle=30)
HEADERS = {
    "content-type": "application/json",
    "x-request-id": "0193a5b2-7f3c-7abc-8def-0123456789ab.c2lnbmF0dXJl",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "authorization": f"Bearer {'k' * 48}",
}
EVENT = (
    b"data: " + json.dumps({"id": "x" * 60, "choices": [{"delta": {"content": " word"}}]}).encode()
)
CHUNK = b"%x\r\n%b\n\n\r\n" % (len(EVENT) + 2, EVENT)
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
WHOLE = (
    b"HTTP/1.1 200 OK\r\ndate: Mon, 23 Nov 2026 00:00:00 GMT\r\nserver: uvicorn\r\n"
    b"content-length: 600\r\ncontent-type: application/json\r\nx-request-id: 0193a5b2\r\n\r\n"
    + b"x"
    * 600
)
CLIENTS: dict[str, Callable[[], Any]] = {
    "strop": SocketUpstream,
    "aiohttp": AiohttpUpstream,
    "bare": lambda: BareUpstream((WHOLE, LAST_CHUNK)),
}


def main() -> None:
    """Compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--rate", type=float, default=50, help="chunks a second of each stream")
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--client", choices=CLIENTS, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        run(serve(options))
    elif options.client:
        sys.stdout.write(json.dumps(run(measure(options))))
    else:
        sys.stdout.write(describe(compare(options)) + "\n")


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run it on the gateway's event loop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def compare(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Return each client's median microseconds of CPU per chunk and per call."""
    command = [sys.executable, "-m", "tests.bench.upstream"]
    command += [f"--{name}={getattr(options, name)}" for name in ("streams", "rate", "seconds")]
    with subprocess.Popen([*command, "--serve"], stdout=subprocess.PIPE, text=True) as engine:
        assert engine.stdout is not None
        port = engine.stdout.readline().strip()
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in CLIENTS}
        for _ in range(options.rounds):
            for name, found in rounds.items():
                one = [*command, "--client", name, "--port", port]
                done = subprocess.run(one, stdout=subprocess.PIPE, check=True)
                found.append(json.loads(done.stdout))
        engine.terminate()
    return {
        name: {key: statistics.median(one[key] for one in found) for key in found[0]}
        for name, found in rounds.items()
    }


def describe(results: dict[str, dict[str, float]]) -> str:
    """Return the figures, a line a client, and the machine's load beside them."""
    lines = [
        f"{name:8} {found['per_chunk']:6.1f} us CPU per chunk, {found['per_call']:6.1f} per call, "
        f"{found['calls_per_second']:7.0f} calls/s at 32 at once"
        for name, found in results.items()
    ]
    return "\n".join([*lines, f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"])


async def measure(options: argparse.Namespace) -> dict[str, float]:
    """Return one client's figures, CPU in microseconds."""
    upstream = CLIENTS[options.client]()
    url = f"http://127.0.0.1:{options.port}"
    streaming = [read_stream(upstream, url) for _ in range(options.streams)]
    per_chunk, _ = await cpu_per_piece(streaming)
    calling = [calls(upstream, url, options.seconds) for _ in range(32)]
    per_call, num_per_second = await cpu_per_piece(calling)
    await upstream.close()
    return {"per_chunk": per_chunk, "per_call": per_call, "calls_per_second": num_per_second}


async def cpu_per_piece(work: list[Awaitable[int]]) -> tuple[float, float]:
    """Run it all; return this process's CPU per piece in microseconds, and pieces a second."""
    cpu, clock = time.process_time(), time.perf_counter()
    num_pieces = sum(await asyncio.gather(*work))
    seconds = time.perf_counter() - clock
    return (time.process_time() - cpu) / num_pieces * 1e6, num_pieces / seconds


async def read_stream(upstream: Upstream, url: str) -> int:
    """Read one stream; return its number of chunks."""
    response = await upstream.open(f"{url}/stream", HEADERS, b"{}", DEADLINES)
    with closing(response):
        num_chunks = 0
        while piece := await response.read():
            num_chunks += piece.count(b"\n\n")
        return num_chunks


async def calls(upstream: Upstream, url: str, seconds: float) -> int:
    """Call without pause; return how often."""
    num_calls = 0
    ends_at = time.perf_counter() + seconds
    while time.perf_counter() < ends_at:
        response = await upstream.open(f"{url}/whole", HEADERS, b"{}" * 200, DEADLINES)
        with closing(response):
            while await response.read():
                pass
        num_calls += 1
    return num_calls


class Engine(asyncio.Protocol):
    """Answers what `/stream` asks for at a steady rate, all else at once."""

    def __init__(self, num_chunks: int, gap_seconds: float) -> None:
        self._num_chunks = num_chunks
        self._gap_seconds = gap_seconds
        self._write: Callable[[bytes], None] = lambda _: None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note where to write."""
        self._write = cast(asyncio.WriteTransport, transport).write

    def data_received(self, data: bytes) -> None:
        """Answer; a request here is one piece."""
        if not data.startswith(b"POST /stream"):
            self._write(WHOLE)
            return
        self._write(STREAM)
        self._send(self._num_chunks)

    def _send(self, num_left: int) -> None:
        if not num_left:
            self._write(LAST_CHUNK)
            return
        self._write(CHUNK)
        asyncio.get_running_loop().call_later(self._gap_seconds, self._send, num_left - 1)


async def serve(options: argparse.Namespace) -> None:
    """Be the engine until terminated; print the port first."""
    num_chunks = round(options.rate * options.seconds)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Engine(num_chunks, 1 / options.rate), "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    main()
