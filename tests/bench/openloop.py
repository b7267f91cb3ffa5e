"""Requests at a constant rate, whatever becomes of those before: a process of its own.

Each request has its time, and its latency counts from that time: one that cannot be sent because
every connection waits for a slow answer waits on, and that is part of its latency. A generator
that sends the next request when the last is answered would leave out exactly those that hurt
("coordinated omission").

The loop waits by select(2), whose time-outs have microseconds; epoll's have milliseconds.
"""

import asyncio
import json
import selectors
import subprocess
import sys
import time
from collections import deque
from typing import Any, cast

import httptools

from tests.bench.peers import PATH, Target
from tests.bench.report import percentile, spread_ms

CONNECTIONS = 64
_PATIENCE_SECONDS = 20


def at_rate(target: Target, body: bytes, rate: float, seconds: float) -> dict[str, float]:
    """Send `rate` requests a second for so long; return counts and latencies.

    Returns:
        `num_answered` (2xx), `num_failed`; `p50_ms`, `p99_ms`; `late_p99_ms`: how late this
        process itself was to send what a free connection was there for.
    """
    wanted = {
        "host": target.url.removeprefix("http://"),
        "headers": dict(target.headers),
        "body": body.decode(),
        "rate": rate,
        "seconds": seconds,
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.openloop"],
        input=json.dumps(wanted),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def write_request(host: str, headers: dict[str, str], body: bytes) -> bytes:
    """Return a chat as it goes over the wire."""
    fields = {"host": host, "content-type": "application/json", "content-length": str(len(body))}
    lines = [f"{name}: {value}" for name, value in (fields | headers).items()]
    return "\r\n".join([f"POST {PATH} HTTP/1.1", *lines, "\r\n"]).encode() + body


class Generator:
    """Sends at the given times on whatever connection is free."""

    def __init__(self, request: bytes, rate: float, num_requests: int) -> None:
        self.latencies: list[float] = []
        self.lateness: list[float] = []
        self.num_failed = 0
        self.is_over = asyncio.Event()
        self._request = request
        self._gap = 1 / rate
        self._num_left = num_requests
        self._loop = asyncio.get_running_loop()
        self._free: list[_Caller] = []
        self._overdue: deque[float] = deque()
        self._num_running = 0
        self._next_due = 0.0

    async def run(self, host: str) -> None:
        """Connect, send all, wait for the answers."""
        name, _, port = host.partition(":")
        for _ in range(CONNECTIONS):
            _, caller = await self._loop.create_connection(lambda: _Caller(self), name, int(port))
            self._free.append(caller)
        self._next_due = self._loop.time() + 0.1
        self._loop.call_at(self._next_due, self._send_due)
        seconds = self._num_left * self._gap + _PATIENCE_SECONDS
        try:
            async with asyncio.timeout(seconds):
                await self.is_over.wait()
        except TimeoutError:
            self.num_failed += self._num_running + len(self._overdue) + self._num_left

    def _send_due(self) -> None:
        now = self._loop.time()
        while self._num_left and self._next_due <= now:
            self._num_left -= 1
            if self._free:
                self.lateness.append(now - self._next_due)
                self._send(self._free.pop(), self._next_due)
            else:
                self._overdue.append(self._next_due)
            self._next_due += self._gap
        if self._num_left:
            self._loop.call_at(self._next_due, self._send_due)

    def _send(self, caller: "_Caller", due: float) -> None:
        self._num_running += 1
        caller.send(self._request, due)

    def answered(self, caller: "_Caller", due: float, *, is_ok: bool) -> None:
        """Note an answer; its connection takes the request that has waited longest."""
        self._num_running -= 1
        if is_ok:
            self.latencies.append(self._loop.time() - due)
        else:
            self.num_failed += 1
        if self._overdue:
            self._send(caller, self._overdue.popleft())
        else:
            self._free.append(caller)
        if not (self._num_left or self._num_running):
            self.is_over.set()

    def lost(self, caller: "_Caller", *, is_waiting: bool) -> None:
        """Do without a connection."""
        if is_waiting:
            self._num_running -= 1
            self.num_failed += 1
        elif caller in self._free:
            self._free.remove(caller)


class _Caller(asyncio.Protocol):
    """One connection, with one request at a time."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self._parser: Any = None
        self._due: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._write = cast(asyncio.WriteTransport, transport).write

    def send(self, request: bytes, due: float) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._due = due
        self._write(request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        due, self._due = self._due, None
        assert due is not None
        is_ok = 200 <= self._parser.get_status_code() < 300
        self._generator.answered(self, due, is_ok=is_ok)

    def connection_lost(self, exc: Exception | None) -> None:
        self._generator.lost(self, is_waiting=self._due is not None)


async def generate(wanted: dict[str, Any]) -> dict[str, float]:
    """Do what is wanted; see `at_rate`."""
    request = write_request(wanted["host"], wanted["headers"], wanted["body"].encode())
    generator = Generator(request, wanted["rate"], round(wanted["rate"] * wanted["seconds"]))
    began_at = time.monotonic()
    await generator.run(wanted["host"])
    return {
        "num_answered": len(generator.latencies),
        "num_failed": generator.num_failed,
        "seconds": round(time.monotonic() - began_at, 3),
        "late_p99_ms": round(percentile(generator.lateness, 0.99) * 1000, 3),
        **spread_ms(generator.latencies),
    }


def main() -> None:
    """Read what is wanted from stdin, do it, print what came of it."""
    wanted = json.load(sys.stdin)

    def make_loop() -> asyncio.AbstractEventLoop:
        return asyncio.SelectorEventLoop(selectors.SelectSelector())

    with asyncio.Runner(loop_factory=make_loop) as runner:
        sys.stdout.write(json.dumps(runner.run(generate(wanted))))


if __name__ == "__main__":
    main()
