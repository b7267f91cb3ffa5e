"""Connections whose clients are slow, endless, odd or gone, on real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from gateway.http.protocol import MAX_AHEAD_BYTES, MAX_AHEAD_REQUESTS
from gateway.http.refusals import MAX_HEAD_BYTES
from tests.behind_protocol import App, running
from tests.gateway import until

HEAD = b"GET /a HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: a\r\n"
# As the JDK's HttpClient sends it with every request over plain HTTP, unless told otherwise.
UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEA\r\n"

# Request, and the status and code of its refusal.
MALFORMED = [
    (b"GET /a HTTP/1.1\r\n\r\n", 400, "malformed_request"),
    (HEAD + b"Host: b\r\n\r\n", 400, "malformed_request"),
    (b"GET //a HTTP/1.1\r\nHost: a\r\n\r\n", 404, "not_found"),
    (b"GET /a//b HTTP/1.1\r\nHost: a\r\n\r\n", 404, "not_found"),
    (b"GET /%2Fa HTTP/1.1\r\nHost: a\r\n\r\n", 404, "not_found"),
    (b"GET http://a//b HTTP/1.1\r\nHost: a\r\n\r\n", 404, "not_found"),
    (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "malformed_request"),
    (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400, "malformed_request"),
    (b"\x16\x03\x01 no HTTP at all\r\n\r\n", 400, "malformed_request"),
    (HEAD + b"A : space\r\n\r\n", 400, "malformed_request"),
    (HEAD + b"A: a\r\n folded\r\n\r\n", 400, "malformed_request"),
    (HEAD + b"A: \0\r\n\r\n", 400, "malformed_request"),
    (b"GET /a HTTP/1.1\nHost: a\n\n", 400, "malformed_request"),
    (POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400, "malformed_request"),
    (POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, None),
    (POST + b"Transfer-Encoding: chunked\r\n\r\nnothing\r\n", 400, "malformed_request"),
    (POST + UPGRADE + b"Upgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\nno", 400, None),
    (POST + UPGRADE + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400, None),
    (b"GET /a HTTP/1.1\r\n" + UPGRADE + b"\r\n", 400, None),
    (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n" + UPGRADE + b"\r\n", 400, None),
    (HEAD + b"A: " + b"a" * MAX_HEAD_BYTES + b"\r\n\r\n", 431, "headers_too_large"),
    (HEAD + b"A: " + b"a" * MAX_HEAD_BYTES, 431, "headers_too_large"),
    (HEAD + b"A: a\r\n" * (MAX_HEAD_BYTES // 6), 431, "headers_too_large"),
    (b"GET /" + b"a" * MAX_HEAD_BYTES, 431, "headers_too_large"),
]


@pytest.fixture(params=["asgi", "exchanges"])
async def app(request: pytest.FixtureRequest) -> AsyncIterator[App]:
    """An application that answers at once, with the limits as they are."""
    async with running(has_exchanges=request.param == "exchanges") as found:
        yield found


def refusal(answer: bytes) -> tuple[int, str]:
    """Return status and code of a refusal, which has OpenAI's shape and closes."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head
    assert b"connection: close" in head
    assert b"x-content-type-options: nosniff" in head
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return int(head.split()[1]), error["code"]


async def test_what_is_no_fit_head_is_refused(app: App) -> None:
    """The application never sees it, and the client can read why."""
    for request, status, code in MALFORMED:
        found = refusal(await app.send(request))
        assert found == (status, code or "malformed_request"), request[:60]
    heads_only = [request for request in app.requests if request["method"] == "GET"]
    assert heads_only == []


async def test_old_clients_need_no_host(app: App) -> None:
    """HTTP/1.0 has none."""
    assert (await app.send(b"GET /a HTTP/1.0\r\n\r\n")).endswith(b"\r\n\r\n/a")


async def test_an_upgrade_without_a_body_is_ignored(app: App) -> None:
    """A client that would like HTTP/2 gets HTTP/1.1."""
    request = HEAD + b"Connection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n"
    assert (await app.send(request)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("num_at_once", [1, 7, 10_000])
async def test_an_upgrade_is_ignored_and_the_body_stays_the_requests(
    app: App, num_at_once: int
) -> None:
    """However it is cut: each request gets its own body, and nothing of it becomes another one."""
    smuggled = b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n"
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(smuggled), smuggled)
    sent = b"".join(
        [
            POST + UPGRADE + b"Content-Length: %d\r\n\r\n" % len(smuggled) + smuggled,
            POST + UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n" + chunks,
            HEAD + UPGRADE + b"\r\n",
            POST + b"Content-Length: 2\r\nConnection: close\r\n\r\n{}",
        ]
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", app.port)
    for start in range(0, len(sent), num_at_once):
        writer.write(sent[start : start + num_at_once])
        await asyncio.sleep(0)
    async with asyncio.timeout(60):
        answer = await reader.read()
    writer.close()
    assert answer.count(b"HTTP/1.1 200") == len(app.bodies) == 4
    assert app.bodies == [smuggled, smuggled, b"", b"{}"]
    assert {request["path"] for request in app.requests} == {"/a"}
    assert all(name != b"upgrade" for request in app.requests for name, _ in request["headers"])


async def test_trailers_are_no_headers(app: App) -> None:
    """What comes behind the body joins neither this head nor the next."""
    chunked = b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nAuthorization: a\r\n\r\n"
    await app.send(POST + chunked + HEAD + b"Connection: close\r\n\r\n")
    names = [{name for name, _ in request["headers"]} for request in app.requests]
    assert names == [{b"host", b"transfer-encoding"}, {b"host", b"connection"}]


async def test_trailers_without_end_are_refused(app: App) -> None:
    """They are bounded as heads are, and so are a chunk's extensions."""
    begun = POST + b"Transfer-Encoding: chunked\r\n\r\n"
    for endless in (b"0\r\nA: ", b"0\r\n" + b"A: a\r\n" * 9, b"2;a="):
        answer = await app.send(begun + endless + b"a" * 9 * MAX_HEAD_BYTES)
        assert refusal(answer) == (431, "headers_too_large")
    await until(lambda: app.num_gone == 3)


@pytest.mark.parametrize("sent", [b"GET /", HEAD, HEAD + b"A: ", b""])
async def test_a_head_that_does_not_end_is_given_up(sent: bytes) -> None:
    """However it dribbles; a client that says nothing at all is just left."""
    async with running(head_seconds=0.15) as app:
        reader, writer = await asyncio.open_connection("127.0.0.1", app.port)
        writer.write(sent)
        await asyncio.sleep(0.1)
        writer.write(b"a" if sent else b"")
        async with asyncio.timeout(20):
            answer = await reader.read()
        assert answer == b"" if not sent else refusal(answer) == (408, "head_timeout")
        writer.close()
        await until(lambda: app.num_connections == 0)


async def test_the_next_head_has_its_deadline_too() -> None:
    """A connection that was good once may not dribble later."""
    async with running(head_seconds=0.15) as app:
        reader, writer = await asyncio.open_connection("127.0.0.1", app.port)
        writer.write(HEAD + b"\r\n")
        assert (await reader.readuntil(b"/a")).startswith(b"HTTP/1.1 200")
        await asyncio.sleep(0.2)  # idle between requests is no fault
        writer.write(b"GET ")
        async with asyncio.timeout(20):
            assert refusal(await reader.read()) == (408, "head_timeout")
        writer.close()


async def test_requests_sent_ahead_are_answered_in_order(app: App) -> None:
    """Pipelining works."""
    requests = [b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(4)]
    answer = await app.send(b"".join(requests) + HEAD + b"Connection: close\r\n\r\n")
    bodies = [part.partition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert bodies == [b"/0", b"/1", b"/2", b"/3", b"/a"]


@pytest.mark.parametrize(
    "ahead",
    [
        b"GET ",
        HEAD + b"\r\n",
        2 * (HEAD + b"\r\n"),
        POST + b"Content-Length: 9\r\n\r\n{",
        POST + b"Content-Length: 99999\r\n\r\n" + b"a" * MAX_AHEAD_BYTES,
        b"\0\0\0",
        HEAD + b"A: " + b"a" * MAX_HEAD_BYTES,
    ],
)
@pytest.mark.parametrize("is_later", [True, False])
async def test_bytes_sent_ahead_do_not_hide_that_the_client_leaves(
    app: App, ahead: bytes, is_later: bool
) -> None:
    """The request that is being answered is told at once."""
    app.may_answer.clear()
    _, writer = await asyncio.open_connection("127.0.0.1", app.port)
    writer.write(HEAD + b"\r\n" + (b"" if is_later else ahead))
    await until(lambda: len(app.requests) == 1)
    if is_later:
        writer.write(ahead)
        await asyncio.sleep(0.05)
    writer.close()
    await until(lambda: app.num_gone == 1)
    await until(lambda: app.num_connections == 0)
    assert len(app.requests) == 1


async def test_garbage_sent_ahead_does_not_stain_the_answer(app: App) -> None:
    """The running answer is given whole, and nothing after it."""
    app.may_answer.clear()
    reader, writer = await asyncio.open_connection("127.0.0.1", app.port)
    writer.write(HEAD + b"\r\n")
    await until(lambda: len(app.requests) == 1)
    writer.write(b"\0 garbage")
    await asyncio.sleep(0.05)
    app.may_answer.set()
    async with asyncio.timeout(20):
        answer = await reader.read()
    assert answer.count(b"HTTP/1.1") == 1
    assert answer.endswith(b"\r\n\r\n/a")
    writer.close()


async def test_a_long_body_does_not_hide_that_the_client_leaves(app: App) -> None:
    """However much of it had to wait in the kernel."""
    app.may_answer.clear()
    body = b"a" * 500_000
    _, writer = await asyncio.open_connection("127.0.0.1", app.port)
    writer.write(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    await until(lambda: app.bodies == [body])
    writer.transport.abort()
    await until(lambda: app.num_gone == 1)


async def test_who_sends_far_ahead_is_cut(app: App) -> None:
    """Nobody may have the gateway hold requests without bound."""
    app.may_answer.clear()
    _, writer = await asyncio.open_connection("127.0.0.1", app.port)
    writer.write(HEAD + b"\r\n")
    await until(lambda: len(app.requests) == 1)
    writer.write((HEAD + b"\r\n") * (MAX_AHEAD_BYTES // 4))
    await until(lambda: app.num_gone == 1)
    writer.transport.abort()


async def test_who_sends_many_ahead_is_cut(app: App) -> None:
    """However short they are, and though they were not too long when they came."""
    app.may_answer.clear()
    _, writer = await asyncio.open_connection("127.0.0.1", app.port)
    writer.write((HEAD + b"\r\n") * (MAX_AHEAD_REQUESTS + 2))
    await until(lambda: app.num_gone == 1)
    writer.transport.abort()
