"""A scriptable engine on a real socket: answers like vLLM, or fails exactly as a test says.

A test sets `engine.script`, a function from the request to an `Answer`; without one, chats and
completions are answered as vLLM would, streamed or not. It records what it got and who hung up.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from tests.upstream_dialects import (
    message_events,
    plain_answer,
    response_events,
)


class Fault(Enum):
    """What may happen instead of the next piece."""

    RESET = "reset"  # RST: the process was killed
    END = "end"  # the connection is closed in good order, before the body's end
    STALL = "stall"  # nothing more ever comes; ends when the caller hangs up


@dataclass(kw_only=True)
class Answer:
    """What to send: head, then pieces one write at a time; a number is a pause, seconds."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
    pieces: list[bytes | float | Fault] = field(default_factory=list)
    is_chunked: bool = True
    before_head: Fault | float | asyncio.Event | None = None
    """An event is waited for."""


@dataclass
class Received:
    """A request as it arrived; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        """The body, read."""
        found: dict[str, Any] = json.loads(self.body)
        return found


class FakeEngine:
    """One engine; `calls` holds the requests for answers, without health checks and probes."""

    def __init__(self) -> None:
        self.port = 0
        self.calls: list[Received] = []
        self.num_hung_up = 0
        self.num_connections = 0
        self.adapters: dict[str, str] = {}
        self.base_name = "base"
        self.is_healthy = True
        self.script: Callable[[Received], Answer] = answer_like_vllm
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        """Where it listens, without /v1."""
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer requests on one connection until somebody closes it."""
        self.num_connections += 1
        self._writers.add(writer)
        try:
            while received := await _read_request(reader):
                if not await self._send(self._answer(received), reader, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    def hang_up(self) -> None:
        """Close every connection, as a killed process would."""
        for writer in self._writers:
            writer.transport.abort()

    def _answer(self, received: Received) -> Answer:
        if received.path == "/health":
            return Answer(status=200 if self.is_healthy else 503)
        if received.path == "/v1/models":
            return _json(self._models())
        if received.path == "/v1/load_lora_adapter":
            self.adapters[received.json["lora_name"]] = received.json["lora_path"]
            return Answer(pieces=[b"Success"])
        if received.path == "/v1/unload_lora_adapter":
            found = self.adapters.pop(received.json["lora_name"], None)
            return Answer(status=200 if found else 404)
        if received.json.get("model") not in {self.base_name, *self.adapters}:
            return unknown_model(received.json.get("model"))
        if "x-request-id" not in received.headers:
            return answer_like_vllm(received)  # a probe
        self.calls.append(received)
        return self.script(received)

    def _models(self) -> dict[str, Any]:
        base = {"id": self.base_name, "object": "model", "root": self.base_name, "parent": None}
        loaded = [
            {"id": name, "object": "model", "root": path, "parent": self.base_name}
            for name, path in self.adapters.items()
        ]
        return {"object": "list", "data": [base, *loaded]}

    async def _send(
        self, answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        if answer.before_head is not None and not await self._act(
            answer.before_head, reader, writer
        ):
            return False
        body = b"".join(piece for piece in answer.pieces if isinstance(piece, bytes))
        framing = (
            "transfer-encoding: chunked" if answer.is_chunked else f"content-length: {len(body)}"
        )
        head = [f"HTTP/1.1 {answer.status} OK", framing]
        head += [f"{name}: {value}" for name, value in answer.headers.items()]
        writer.write("\r\n".join(head).encode() + b"\r\n\r\n")
        for piece in answer.pieces:
            if not isinstance(piece, bytes):
                if not await self._act(piece, reader, writer):
                    return False
                continue
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if answer.is_chunked else piece)
            try:
                await writer.drain()
            except ConnectionError:
                self.num_hung_up += 1
                return False
        if answer.is_chunked:
            writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    async def _act(
        self,
        act: Fault | float | asyncio.Event,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """Do what the script says; return whether the connection goes on."""
        if isinstance(act, asyncio.Event):
            await act.wait()
            return True
        if act is Fault.RESET:
            writer.transport.abort()
            return False
        if act is Fault.END:
            return False
        seconds = None if isinstance(act, Fault) else act
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                with suppress(ConnectionError):
                    # Nobody pipelines here: whatever ends this wait early is the caller leaving.
                    await reader.read(1)
                self.num_hung_up += 1
                return False
        return True


@asynccontextmanager
async def fake_engine() -> AsyncIterator[FakeEngine]:
    """Run an engine on a free port."""
    engine = FakeEngine()
    server = await asyncio.start_server(engine.serve, "127.0.0.1", 0)
    engine.port = server.sockets[0].getsockname()[1]
    try:
        yield engine
    finally:
        server.close()
        engine.hang_up()
        await server.wait_closed()


def answer_like_vllm(received: Received) -> Answer:
    """Answer as vLLM does: three tokens, the id from X-Request-Id, usage if asked for."""
    words = ["Hello", " there", "!"]
    request_id = received.headers.get("x-request-id", "unnamed")
    if received.json.get("stream"):
        return streamed(received, words)
    plain = plain_answer(received.path, received.json, words, request_id)
    if plain is not None:
        return _json(plain)
    is_chat = received.path == "/v1/chat/completions"
    text = {"message": {"role": "assistant", "content": "Hello there!"}}
    choice = text if is_chat else {"text": "Hello there!"}
    return _json(
        _head(received)
        | {
            "object": "chat.completion" if is_chat else "text_completion",
            "choices": [{"index": 0, "finish_reason": "stop", **choice}],
            "usage": USAGE,
        }
    )


def answer_when(may_answer: asyncio.Event) -> Callable[[Received], Answer]:
    """Return a script that answers as vLLM does, once it may."""

    def script(received: Received) -> Answer:
        answer = answer_like_vllm(received)
        answer.before_head = may_answer
        return answer

    return script


def streamed(received: Received, words: list[str], *, gap: float | Fault | None = None) -> Answer:
    """Answer with one event a word, with `gap` after each."""
    pieces: list[bytes | float | Fault] = []
    for event in events(received, words):
        pieces.append(event)
        if gap is not None:
            pieces.append(gap)
    return Answer(headers={"content-type": "text/event-stream; charset=utf-8"}, pieces=pieces)


def events(received: Received, words: list[str]) -> list[bytes]:
    """Return the events of a stream; of a chat with usage if it was asked for, and [DONE]."""
    if received.path == "/v1/responses":
        return response_events(received.json, words)
    if received.path == "/v1/messages":
        return message_events(received.json, words, received.headers["x-request-id"])
    is_chat = received.path == "/v1/chat/completions"
    kind = {"object": "chat.completion.chunk" if is_chat else "text_completion"}
    head = _head(received) | kind
    bodies = [
        head
        | {
            "choices": [
                {"index": 0, "delta": {"content": word}, "finish_reason": None}
                if is_chat
                else {"index": 0, "text": word, "finish_reason": None}
            ]
        }
        for word in words
    ]
    if received.json.get("stream_options", {}).get("include_usage"):
        bodies.append(head | {"choices": [], "usage": USAGE})
    lines = [json.dumps(body, separators=(",", ":")) for body in bodies] + ["[DONE]"]
    return [f"data: {line}\n\n".encode() for line in lines]


def no_such_route() -> Answer:
    """Return FastAPI's words for a path that vLLM does not have for its model."""
    return _json({"detail": "Not Found"}, status=404)


def unknown_model(name: object) -> Answer:
    """Return vLLM's words for a model it does not serve."""
    message = f"The model `{name}` does not exist."
    error = {"message": message, "type": "NotFoundError", "param": "model", "code": 404}
    return _json({"error": error}, status=404)


USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def _head(received: Received) -> dict[str, Any]:
    prefix = "chatcmpl" if received.path == "/v1/chat/completions" else "cmpl"
    request_id = received.headers.get("x-request-id", "unnamed")
    return {"id": f"{prefix}-{request_id}", "created": 1, "model": received.json.get("model")}


def _json(body: dict[str, Any], status: int = 200) -> Answer:
    return Answer(status=status, pieces=[json.dumps(body).encode()], is_chunked=False)


async def _read_request(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.rstrip("\r\n").split("\r\n")
    method, path, _ = first.split(" ")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Received(method, path, headers, body)
