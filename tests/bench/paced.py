"""An upstream that streams chats at a steady pace: a process of its own, CPU of others' no part of it.

A chat is answered with as many pieces as its `max_tokens` says, the first at once; one whose last
message is "Say nothing." gets the first piece and then silence.
"""

import argparse
import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import httptools
import uvloop

from tests.bench.peers import Target
from tests.stack import wait_until

SILENCE = "Say nothing."

_STREAM = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)
_HEAD = {"id": "chatcmpl-123", "object": "chat.completion.chunk", "created": 1, "model": "base"}
_USAGE = {"prompt_tokens": 12, "completion_tokens": 100, "total_tokens": 112}


def _chunk(**body: Any) -> bytes:
    event = b"data: %b\n\n" % json.dumps(_HEAD | body).encode()
    return b"%x\r\n%b\r\n" % (len(event), event)


def _choice(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return _chunk(choices=[choice])


_FIRST = _choice({"role": "assistant", "content": "A"})
_NEXT = _choice({"content": " word"})
_LAST = _choice({}, "stop")
_USED = _chunk(choices=[], usage=_USAGE)
_DONE = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


@contextmanager
def paced_upstream(rate: float) -> Iterator[Target]:
    """Run it until the block ends, with `rate` pieces a second in each stream."""
    command = [sys.executable, "-m", "tests.bench.paced", f"--rate={rate}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        target = Target(name="direct", url=f"http://127.0.0.1:{port}")
        try:
            wait_until(target.answers, 10, "the upstream answers")
            yield target
        finally:
            process.terminate()


class _Connection(asyncio.Protocol):
    """Answers one request after the other."""

    def __init__(self, gap_seconds: float) -> None:
        self._gap_seconds = gap_seconds
        self._loop = asyncio.get_running_loop()
        self._path = b""
        self._body: list[bytes] = []
        self._parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, path: bytes) -> None:
        self._path = path
        self._body = []

    def on_body(self, piece: bytes) -> None:
        self._body.append(piece)

    def on_message_complete(self) -> None:
        asked = json.loads(b"".join(self._body) or b"{}")
        if asked.get("stream"):
            self._begin(asked)
        elif self._path.endswith(b"/models"):
            self._answer({"object": "list", "data": [{"id": "base", "object": "model"}]})
        else:
            choice = {"index": 0, "message": {"role": "assistant", "content": "A"}}
            choices = [{**choice, "finish_reason": "stop"}]
            self._answer(
                {**_HEAD, "object": "chat.completion", "choices": choices, "usage": _USAGE}
            )

    def _answer(self, body: dict[str, Any]) -> None:
        raw = json.dumps(body).encode()
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        self._transport.write(head % len(raw) + raw)

    def _begin(self, asked: dict[str, Any]) -> None:
        self._transport.write(_STREAM + _FIRST)
        if asked["messages"][-1]["content"] == SILENCE:
            return
        wants_usage = (asked.get("stream_options") or {}).get("include_usage")
        end = _LAST + (_USED if wants_usage else b"") + _DONE
        self._send(self._loop.time(), asked["max_tokens"] - 1, end)

    def _send(self, last_due: float, num_left: int, end: bytes) -> None:
        """Send what is due, and see to the next. By the clock, or lateness would add up."""
        due = last_due + self._gap_seconds
        if num_left:
            self._loop.call_at(due, self._send_next, due, num_left, end)
        else:
            self._transport.write(end)

    def _send_next(self, due: float, num_left: int, end: bytes) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(_NEXT)
        self._send(due, num_left - 1, end)


async def serve(rate: float) -> None:
    """Be the upstream until terminated; print the port first."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(1 / rate), "127.0.0.1", 0, backlog=1024)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=50)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(parser.parse_args().rate))


if __name__ == "__main__":
    main()
