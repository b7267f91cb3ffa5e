"""Clients of streams, many at once, that time every event: a process of its own.

Its parent takes the gateway's CPU while this process measures: it prints "begin" when the streams
run evenly, and its figures at the end.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, cast

import httptools
import uvloop

from tests.bench.openloop import write_request
from tests.bench.paced import SILENCE
from tests.bench.peers import Target, chat
from tests.bench.report import spread_ms
from tests.gateway import until

_PATIENCE_SECONDS = 60


def measure_streams(
    target: Target, num_streams: int, num_tokens: int, rate: float, seconds: float
) -> dict[str, float]:
    """Keep so many streams of `num_tokens` running, and time them for so long when they do.

    Returns:
        `whole`: streams that ended as they should, from the first one on. While they ran evenly:
        `chunks` that came, `streams` that began; `first_...` and `gap_...` with the medians and 99th
        percentiles of first tokens and of the time between two; `cpu_us`: the gateway's per chunk.
    """
    wanted = {
        "num_streams": num_streams,
        "stream_seconds": num_tokens / rate,
        "seconds": seconds,
        "body": streamed(target, max_tokens=num_tokens).decode(),
    }
    with _clients(target, wanted) as out:
        _expect(out, "begin")
        cpu = target.cpu_seconds if target.process else 0
        found: dict[str, float] = json.loads(out.readline())
        if target.process:
            cpu = target.cpu_seconds - cpu
            found["cpu_us"] = round(cpu / found["chunks"] * 1e6, 1)
    return found


def memory_of_idle(target: Target, num_streams: int) -> float:
    """Return the memory in MB that a gateway takes more while so many streams are silent."""
    body = streamed(target, question=SILENCE).decode()
    before = target.memory_mb
    with _clients(target, {"num_streams": num_streams, "is_idle": True, "body": body}) as out:
        _expect(out, "begin")
        return round(target.memory_mb - before, 1)


def streamed(target: Target, question: str | None = None, max_tokens: int = 100) -> bytes:
    """Return the body of a streamed chat."""
    asked = json.loads(chat(target.model)) | {"stream": True, "max_tokens": max_tokens}
    if question:
        asked["messages"][-1]["content"] = question
    return json.dumps(asked).encode()


@contextmanager
def _clients(target: Target, wanted: dict[str, Any]) -> Iterator[IO[str]]:
    host = target.url.removeprefix("http://")
    with subprocess.Popen(
        [sys.executable, "-m", "tests.bench.streams"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"host": host, "headers": dict(target.headers), **wanted}))
        process.stdin.close()
        try:
            yield process.stdout
        finally:
            process.kill()


def _expect(out: IO[str], word: str) -> None:
    line = out.readline().strip()
    assert line == word, f"the streams' clients say {line!r}, not {word!r}"


class Watch:
    """What all streams together saw; but for `num_whole`, since `begin`."""

    def __init__(self) -> None:
        self.first_tokens: list[float] = []
        self.gaps: list[float] = []
        self.num_chunks = 0
        self.num_whole = 0
        """Streams that have ended, those before `begin` too."""
        self.num_open = 0
        """Streams whose first token has come and whose end has not."""

    def begin(self) -> None:
        """Forget what came before."""
        self.first_tokens, self.gaps, self.num_chunks = [], [], 0

    def figures(self) -> dict[str, float]:
        """Return them."""
        spreads = {"first": spread_ms(self.first_tokens), "gap": spread_ms(self.gaps)}
        return {
            "whole": self.num_whole,
            "chunks": self.num_chunks,
            "streams": len(self.first_tokens),
            **{
                f"{what}_{name}": at
                for what, found in spreads.items()
                for name, at in found.items()
            },
        }


class _Stream(asyncio.Protocol):
    """One client: a stream, and the next one when that has ended."""

    def __init__(self, watch: Watch, request: bytes) -> None:
        self._watch = watch
        self._request = request
        self._asked_at = 0.0
        self._last_at: float | None = None
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._write: Callable[[bytes], None] = cast(asyncio.WriteTransport, transport).write
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, piece: bytes) -> None:
        # An event may end in one piece and its blank line in the next.
        num_events = (self._tail + piece).count(b"\n\n")
        self._tail = piece[-1:] if not piece.endswith(b"\n\n") else b""
        if num_events:
            self._note(num_events)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        assert status == 200, f"a stream was answered with {status}"
        self._watch.num_open -= 1
        self._watch.num_whole += 1
        self._ask()

    def _ask(self) -> None:
        self._parser: Any = httptools.HttpResponseParser(self)
        self._last_at, self._asked_at = None, time.perf_counter()
        self._write(self._request)

    def _note(self, num_events: int) -> None:
        # uvloop's own clock has milliseconds.
        now, watch = time.perf_counter(), self._watch
        watch.num_chunks += num_events
        if self._last_at is None:
            watch.num_open += 1
            watch.first_tokens.append(now - self._asked_at)
        else:
            watch.gaps.append(now - self._last_at)
        self._last_at = now


async def watch_streams(wanted: dict[str, Any]) -> None:
    """Do what is wanted; see `measure_streams` and `memory_of_idle`."""
    watch, loop = Watch(), asyncio.get_running_loop()
    num_streams, stream_seconds = wanted["num_streams"], wanted.get("stream_seconds", 0)
    request = write_request(wanted["host"], wanted["headers"], wanted["body"].encode())
    name, _, port = wanted["host"].partition(":")
    for _ in range(num_streams):
        await loop.create_connection(lambda: _Stream(watch, request), name, int(port))
        # Spread over a stream's length: users do not all ask at once.
        await asyncio.sleep(stream_seconds / num_streams)
    if wanted.get("is_idle"):
        await until(lambda: watch.num_open == num_streams, _PATIENCE_SECONDS)
    watch.begin()
    _say("begin")
    await asyncio.sleep(wanted.get("seconds", _PATIENCE_SECONDS))
    _say(json.dumps(watch.figures()))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Read what is wanted from stdin, do it."""
    wanted = json.load(sys.stdin)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(watch_streams(wanted))


if __name__ == "__main__":
    main()
