"""HTTP as engines, and proxies before them, really speak it: both clients take the same."""

import asyncio
from contextlib import closing

import pytest

from gateway.upstream.errors import UNREACHABLE, WENT_AWAY
from gateway.upstream.protocol import Deadlines, Upstream
from serving.errors import ConfigurationError, EngineError
from tests.certificates import Authority
from tests.contracts.test_upstream import PATIENT, read, until
from tests.raw_engine import CHUNKED, OK, RawEngine, hear, raw_engine, says, says_once
from tests.upstream_server import Fault


async def post(
    upstream: Upstream, engine: RawEngine, body: bytes = b"{}", deadlines: Deadlines = PATIENT
) -> tuple[int, bytes]:
    """Call; return status and body."""
    response = await upstream.open(engine.url, {"x-request-id": "r1"}, body, deadlines)
    return response.status, await read(response)


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ((OK,), (200, b"ok")),
        ((CHUNKED, b"2;a=b\r\nok\r\n", b"0\r\nx-check: 1\r\n\r\n"), (200, b"ok")),
        ((b"HTTP/1.1 200 OK\r\n\r\n", b"o", 0.02, b"k", Fault.END), (200, b"ok")),
        ((b"HTTP/1.0 200 OK\r\n\r\nok", Fault.END), (200, b"ok")),
        ((b"HTTP/1.1 204 No Content\r\n\r\n",), (204, b"")),
        ((b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n",), (304, b"")),
        ((b"HTTP/1.1 100 Continue\r\n\r\n", OK), (200, b"ok")),
        ((b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK,), (200, b"ok")),
        ((b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n",), (500, b"")),
    ],
)
async def test_every_form_of_an_answer(
    upstream: Upstream, pieces: tuple[bytes | float | Fault, ...], expected: tuple[int, bytes]
) -> None:
    """Sized, in chunks, until the connection's end, without a body, after interim answers."""
    async with raw_engine(says(*pieces)) as engine:
        assert await post(upstream, engine) == expected
        assert await post(upstream, engine) == expected


async def test_an_answer_byte_by_byte(upstream: Upstream) -> None:
    """However small the network's pieces are."""
    data = CHUNKED + b"2\r\nok\r\n0\r\n\r\n"
    async with raw_engine(says(*(data[at : at + 1] for at in range(len(data))))) as engine:
        assert await post(upstream, engine) == (200, b"ok")


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01\x00\xa5 no HTTP\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", CHUNKED + b"zz\r\n"]
)
async def test_no_http_is_an_engine_error(upstream: Upstream, data: bytes) -> None:
    """Whatever it is, and nothing hangs."""
    async with raw_engine(says(data)) as engine:
        with pytest.raises(EngineError):
            await post(upstream, engine)
        await until(lambda: engine.num_open == 0)


async def test_connection_close_is_obeyed(upstream: Upstream) -> None:
    """The next call gets a connection of its own."""
    last = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"
    async with raw_engine(says(last)) as engine:
        assert await post(upstream, engine) == await post(upstream, engine) == (200, b"ok")
        assert engine.num_connections == 2


async def test_a_connection_closed_while_idle_is_not_used(upstream: Upstream) -> None:
    """The engine restarted between two calls: the second one notices nothing."""
    async with raw_engine(says_once(OK), says(OK)) as engine:
        assert await post(upstream, engine) == (200, b"ok")
        await until(lambda: engine.num_open == 0)
        await asyncio.sleep(0.05)
        assert await post(upstream, engine) == (200, b"ok")
        assert engine.num_connections == 2


async def test_a_large_request_waits_for_a_slow_reader(upstream: Upstream) -> None:
    """A body of megabytes arrives whole although the engine reads late."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.2)
        request = await hear(reader)
        length = len(request.partition(b"\r\n\r\n")[2])
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n%8d" % length)

    async with raw_engine(talk) as engine:
        assert await post(upstream, engine, bytes(8 * 2**20)) == (200, b"%8d" % (8 * 2**20))


async def test_a_slow_consumer_stops_the_engine(upstream: Upstream) -> None:
    """What nobody reads stays with the engine, not in the gateway's memory."""
    num_sent = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal num_sent
        await hear(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (64 * 2**20))
        for _ in range(64):
            writer.write(bytes(2**20))
            await writer.drain()
            num_sent += 1

    async with raw_engine(talk) as engine:
        response = await upstream.open(engine.url, {}, b"{}", PATIENT)
        with closing(response):
            await response.read()
            await asyncio.sleep(0.3)
            assert num_sent < 32  # the rest: what two sockets of the kernel hold
            num_read = len(await read(response))
        assert num_read > 60 * 2**20


@pytest.mark.parametrize("value", ["a\r\nhost: elsewhere", "a\nb", "a\0b"])
async def test_a_header_cannot_be_split(upstream: Upstream, value: str) -> None:
    """A value with a line end in it is refused, and nothing is sent."""
    async with raw_engine(says(OK)) as engine:
        with pytest.raises(ConfigurationError):
            await upstream.open(engine.url, {"x-request-id": value}, b"{}", PATIENT)
        assert await post(upstream, engine) == (200, b"ok")


async def test_a_host_by_name(upstream: Upstream) -> None:
    """Names are looked up."""
    async with raw_engine(says(OK), host="localhost") as engine:
        assert await post(upstream, engine) == (200, b"ok")


async def test_ipv6(upstream: Upstream) -> None:
    """An address in brackets."""
    try:
        async with raw_engine(says(OK), host="::1") as engine:
            assert await post(upstream, engine) == (200, b"ok")
    except OSError:
        pytest.skip("no IPv6 here")


async def test_a_name_that_does_not_exist_is_unreachable(upstream: Upstream) -> None:
    """Nothing was sent, and the error says so."""
    with pytest.raises(EngineError) as caught:
        await upstream.open("http://engine.invalid/", {}, b"{}", PATIENT)
    assert caught.value.code == UNREACHABLE


async def test_tls(upstream: Upstream, authority: Authority) -> None:
    """Encrypted, by a certificate for this address; the connection is used again."""
    async with raw_engine(says(OK), tls=authority.server_context("127.0.0.1")) as engine:
        assert await post(upstream, engine) == await post(upstream, engine) == (200, b"ok")
        assert engine.num_connections == 1


async def test_a_certificate_for_another_address_is_unreachable(
    upstream: Upstream, authority: Authority
) -> None:
    """Whoever that is hears nothing of the request."""
    async with raw_engine(says(OK), tls=authority.server_context("127.0.0.2")) as engine:
        with pytest.raises(EngineError) as caught:
            await post(upstream, engine)
    assert caught.value.code == UNREACHABLE


async def test_tls_cut_in_the_middle(upstream: Upstream, authority: Authority) -> None:
    """A sized body that ends early is no body, encrypted or not."""
    half = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"
    context = authority.server_context("127.0.0.1")
    async with raw_engine(says_once(half), tls=context) as engine:
        with pytest.raises(EngineError) as caught:
            await post(upstream, engine)
    assert caught.value.code == WENT_AWAY
