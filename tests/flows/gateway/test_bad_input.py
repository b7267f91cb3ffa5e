"""Input of the worst kind, on a real socket: refused, never a 5xx, never a hang, no engine asked."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples_of
from hypothesis import strategies as st

from serving.store.database import Database
from serving.types import Role
from tests.flows.gateway.bad_input import (
    CHAT,
    CHUNKED,
    CLOSE,
    ENCODED,
    GET,
    HEADS,
    JSON,
    KEY,
    MALFORMED,
    POST,
    TYPED,
    UNFIT,
)
from tests.gateway import Gateway, is_well, make_key, make_settings, running_gateway, until
from tests.scale import examples
from tests.upstream_server import FakeEngine

pytestmark = pytest.mark.timeout(3600)  # the full counts

SECONDS = 60
"""A hang; the slowest of these answers takes less than one."""
_LENGTH = re.compile(rb"^content-length: (\d+)", re.MULTILINE)
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


async def send(gateway: Gateway, request: bytes) -> bytes:
    """Send bytes; return all that came until the gateway hung up."""
    async with asyncio.timeout(SECONDS), connected(gateway) as (reader, writer):
        writer.write(request.replace(KEY, gateway.key.encode()))
        return await read(reader)


@asynccontextmanager
async def connected(
    gateway: Gateway,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a connection that is gone after the block."""
    host, _, port = gateway.url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.close()


async def read(reader: asyncio.StreamReader, *, only_one: bool = False) -> bytes:
    """Return what comes until the other side hangs up, rudely or not; or the first answer."""
    answer = b""
    with suppress(ConnectionResetError):
        while not (only_one and is_whole(answer)) and (piece := await reader.read(2**16)):
            answer += piece
    return answer


def is_whole(answer: bytes) -> bool:
    """Whether an answer is here from its head to the last byte that it announces."""
    head, blank_line, body = answer.partition(b"\r\n\r\n")
    length = _LENGTH.search(head)
    return bool(blank_line) and length is not None and len(body) >= int(length[1])


async def refused(gateway: Gateway, name: str, request: bytes) -> None:
    """Send a request, which is refused or hung up on; check that the gateway goes on."""
    statuses = [int(found) for found in _STATUS.findall(await send(gateway, request))]
    assert len(statuses) <= 1, f"{name}: {len(statuses)} answers"
    assert all(400 <= status < 500 for status in statuses), f"{name}: {statuses}"


def with_body(body: bytes, headers: bytes = JSON) -> bytes:
    """Return a chat's request with this body."""
    return POST + headers + CLOSE + b"Content-Length: %d\r\n\r\n" % len(body) + body


async def still_answers(gateway: Gateway, engine: FakeEngine) -> None:
    """Check that nothing has reached the engine, and that a good request does."""
    assert engine.calls == []
    assert (await gateway.chat()).status == 200
    await until(lambda: gateway.runtime.traffic.num_running == 0)


async def test_heads_and_framings_that_mislead_are_refused(
    gateway: Gateway, engine: FakeEngine
) -> None:
    """One answer at most, whatever they hide, and it refuses."""
    for name, request in HEADS.items():
        await refused(gateway, name, request)
    await still_answers(gateway, engine)


async def test_headers_that_are_lists_may_repeat(gateway: Gateway) -> None:
    """RFC 9110, 5.3: several of one name are one list. Only what has one value may not."""
    lists = b"Accept: text/plain\r\nAccept: */*\r\nVia: 1.1 a\r\nVia: 1.1 b\r\n"
    lists += b"X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-For: 10.0.0.2\r\n"
    assert b" 200 " in await send(gateway, with_body(CHAT, JSON + lists))
    assert b" 200 " in await send(gateway, GET + lists + CLOSE + b"\r\n")


async def test_bodies_that_mislead_are_refused(gateway: Gateway, engine: FakeEngine) -> None:
    """Odd encodings, odd types, odd JSON, and JSON of the wrong size."""
    requests = {
        **{name: with_body(body, JSON + headers) for name, (headers, body) in ENCODED.items()},
        **{name: with_body(CHAT, b"Content-Type: %b\r\n" % kind) for name, kind in TYPED.items()},
        **{name: with_body(body) for name, body in (MALFORMED | UNFIT).items()},
    }
    for name, request in requests.items():
        await refused(gateway, name, request)
    await still_answers(gateway, engine)


async def test_every_route_with_a_body_refuses_what_is_no_json(
    gateway: Gateway, engine: FakeEngine, database: Database
) -> None:
    """Apps' routes and operators', all of the document's."""
    gateway.key = await make_key(database, role=Role.ADMIN)
    await until(lambda: gateway.runtime.catalog.principal_of(gateway.key) is not None)
    bodies = MALFORMED | {name: body for name, (headers, body) in ENCODED.items() if not headers}
    for method, path in routes_with_bodies(gateway):
        for name, body in bodies.items():
            answer = await send(gateway, request_of(method, path, body))
            (status,) = (int(found) for found in _STATUS.findall(answer))
            assert 400 <= status < 500, f"{method} {path}, {name}: {status}"
    await still_answers(gateway, engine)


def routes_with_bodies(gateway: Gateway) -> list[tuple[str, str]]:
    """Return every method and path that takes JSON."""
    paths: Mapping[str, Mapping[str, Any]] = gateway.app.openapi_schema.to_schema()["paths"]
    return [
        (method.upper(), re.sub(r"\{.*?\}", "1", path))
        for path, methods in paths.items()
        for method, operation in methods.items()
        if "requestBody" in operation
    ]


def request_of(method: str, path: str, body: bytes) -> bytes:
    """Return a request with this body."""
    head = POST.replace(b"POST /v1/chat/completions", f"{method} {path}".encode())
    return head + JSON + CLOSE + b"Content-Length: %d\r\n\r\n" % len(body) + body


async def test_what_stands_twice_counts_as_it_goes_on(gateway: Gateway, engine: FakeEngine) -> None:
    """The last of several equal keys is the one that was looked at, and the one that is sent."""
    for body, field, value in (
        (CHAT[:-1] + b',"n":9,"n":2}', "n", 2),
        (CHAT[:-1] + b',"user":"\\u0041","us\\u0065r":"b"}', "user", "b"),
    ):
        assert b" 200 " in await send(gateway, with_body(body))
        assert engine.calls[-1].json[field] == value
    engine.calls.clear()
    await refused(gateway, "n=9 last", with_body(CHAT[:-1] + b',"n":2,"n":9}'))
    await still_answers(gateway, engine)


@pytest.fixture
async def hasty_gateway(
    tmp_path: Path, engine: FakeEngine, database: Database
) -> AsyncIterator[Gateway]:
    """A gateway with little patience."""
    settings = make_settings(tmp_path, engine, head_seconds=0.4, body_seconds=0.4)
    async with running_gateway(settings, database) as found:
        await is_well(found)
        yield found


SLOW = {
    "nothing": b"",
    "half-a-first-line": b"GE",
    "half-a-head": GET + b"A: ",
    "half-a-body": POST + JSON + b"Content-Length: 10000\r\n\r\n{",
    "half-a-chunk": POST + JSON + CHUNKED + b"\r\n2710\r\n{",
    "half-a-chunks-size": POST + JSON + CHUNKED + b"\r\n1;",
    "half-a-trailer": POST + JSON + CHUNKED + b"\r\n1\r\n{\r\n0\r\nA: ",
    "half-a-second-head": b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n" + GET + b"A: ",
}


@pytest.mark.parametrize("dribbles", [True, False])
async def test_who_is_slow_is_given_up(
    hasty_gateway: Gateway, engine: FakeEngine, dribbles: bool
) -> None:
    """Silence or a byte now and then: heads and bodies have a deadline as a whole."""
    await asyncio.gather(*(outlast(hasty_gateway, name, dribbles=dribbles) for name in SLOW))
    await still_answers(hasty_gateway, engine)


async def outlast(gateway: Gateway, name: str, *, dribbles: bool) -> None:
    """Send the beginning of a request, and little of the rest, until the gateway has had enough."""
    async with asyncio.timeout(SECONDS), connected(gateway) as (reader, writer):
        writer.write(SLOW[name].replace(KEY, gateway.key.encode()))
        reading = asyncio.create_task(read(reader))
        while not reading.done():
            if dribbles and SLOW[name]:
                writer.write(b"a")
            await asyncio.wait({reading}, timeout=0.1)
    *answered, last = [0, *(int(found) for found in _STATUS.findall(await reading))]
    assert last in ((0,) if name == "nothing" else (400, 408)), f"{name}: {last}"
    assert set(answered) <= {0, 200}


# One gateway for all examples: that it goes on is part of the rule.
@examples_of(
    max_examples=examples(25, full=2000),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.sampled_from([with_body(CHAT), with_body(UNFIT["n-is-true"]), GET + CLOSE + b"\r\n"]),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 6), st.binary(max_size=6)), max_size=4),
)
async def test_no_spoilt_bytes_are_a_fault_of_ours(
    hasty_gateway: Gateway, request_bytes: bytes, spoilt: list[tuple[int, int, bytes]]
) -> None:
    """Whatever is put in place of whatever: an answer below 500, or the end of the connection."""
    for start, length, put in spoilt:
        request_bytes = request_bytes[:start] + put + request_bytes[start + length :]
    async with asyncio.timeout(SECONDS), connected(hasty_gateway) as (reader, writer):
        writer.write(request_bytes.replace(KEY, hasty_gateway.key.encode()))
        answer = await read(reader, only_one=True)
    assert all(int(status) < 500 for status in _STATUS.findall(answer)), answer[:200]
    assert (await hasty_gateway.chat()).status == 200


async def test_who_still_sends_can_read_why_it_is_too_long(gateway: Gateway) -> None:
    """Closing at once would have the client's own system throw the answer away."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]))
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    head += f"Authorization: Bearer {gateway.key}\r\nContent-Length: {2**30}\r\n\r\n"
    writer.write(head.encode())
    reading = asyncio.create_task(reader.read())
    for _ in range(20):
        writer.write(b" " * 100_000)
        await asyncio.sleep(0.01)
    async with asyncio.timeout(60):
        answer = await reading
    writer.close()
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"payload_too_large" in answer
