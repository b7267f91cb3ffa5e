"""What our own client promises beyond the contract: connections that die, and which are kept."""

import asyncio
from contextlib import closing, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.upstream.client import SocketUpstream
from gateway.upstream.errors import NOT_HTTP, UNREACHABLE, WENT_AWAY
from gateway.upstream.protocol import Deadlines
from serving.errors import EngineError, EngineTimeoutError
from tests.contracts.test_upstream import PATIENT, pieces_of, read, until
from tests.raw_engine import (
    CHUNKED,
    OK,
    RawEngine,
    Talk,
    hear,
    raw_engine,
    reset,
    says,
    says_once,
    stays_silent,
)
from tests.scale import examples
from tests.upstream_server import Fault

HURRIED = Deadlines(first_byte=0.2, idle=0.2)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n"


async def post(
    upstream: SocketUpstream, engine: RawEngine, deadlines: Deadlines = PATIENT, body: bytes = b"{}"
) -> bytes:
    """Call; return the body."""
    return await read(await upstream.open(engine.url, {}, body, deadlines))


async def failed(
    upstream: SocketUpstream, engine: RawEngine, deadlines: Deadlines = PATIENT
) -> str:
    """Call in vain; return the error's code. Whatever it was, nothing of the call is left."""
    with pytest.raises(EngineError) as caught:
        await post(upstream, engine, deadlines)
    await until(lambda: engine.num_open == 0)
    await until(lambda: upstream.pool.num_living == 0)
    return caught.value.code


@pytest.mark.parametrize("fault", [Fault.RESET, Fault.END])
@pytest.mark.parametrize(
    "said",
    [(), (b"HTTP/1.1 2",), (HEAD,), (HEAD, b"half"), (CHUNKED, b"4\r\nha"), (CHUNKED, b"0\r\n")],
)
async def test_gone_at_any_point(
    ours: SocketUpstream, said: tuple[bytes, ...], fault: Fault
) -> None:
    """Reset or closed, in the head or in the body: the engine went away."""
    async with raw_engine(says(*said, 0.02, fault)) as engine:
        assert await failed(ours, engine) == WENT_AWAY


@pytest.mark.parametrize(
    "said", [(), (b"HTTP/1.1 2",), (HEAD,), (HEAD, b"half"), (CHUNKED, b"4\r\nha")]
)
async def test_silent_at_any_point(ours: SocketUpstream, said: tuple[bytes, ...]) -> None:
    """Slow in the head or in the body: given up at the deadline, and told."""
    async with raw_engine(says(*said, Fault.STALL)) as engine:
        assert await failed(ours, engine, HURRIED) == EngineTimeoutError.default_code


async def test_a_head_that_dribbles_gets_no_more_time(ours: SocketUpstream) -> None:
    """A byte now and then moves no deadline before the answer has begun."""
    dribble = [piece for at in range(100) for piece in (HEAD[at : at + 1] or b"x", 0.05)]
    async with raw_engine(says(*dribble)) as engine:
        assert await failed(ours, engine, HURRIED) == EngineTimeoutError.default_code


async def test_bytes_that_are_no_body_give_no_more_time(ours: SocketUpstream) -> None:
    """A chunk's extension in small pieces holds a place at a replica no longer than silence does."""
    dribble = [b"5\r\nfirst\r\n5;a=", *[0.1, b"x"] * 600]
    async with raw_engine(says(CHUNKED, *dribble)) as engine, asyncio.timeout(30):
        assert await failed(ours, engine, HURRIED) == EngineTimeoutError.default_code


async def test_pieces_are_taken_in_the_moment_in_which_they_come(ours: SocketUpstream) -> None:
    """Whoever waits for the next one is not woken for them."""
    taken: list[bytes] = []

    def take(piece: bytes) -> bool:
        taken.append(piece)
        return True

    pieces = [piece for _ in range(20) for piece in (0.02, b"1\r\na\r\n")]
    async with raw_engine(says(CHUNKED, *pieces, 0.02, b"0\r\n\r\n")) as engine:
        response = await ours.open(engine.url, {}, b"{}", PATIENT)
        with closing(response):
            returned = [piece async for piece in pieces_of(response, take)]
    assert len(taken) > len(returned)
    assert b"".join(taken + returned) == b"a" * 20


async def test_a_head_that_never_ends(ours: SocketUpstream) -> None:
    """Refused at the limit, long before the deadline."""
    async with raw_engine(
        says(b"HTTP/1.1 200 OK\r\n", *[b"name: value\r\n" * 100] * 100)
    ) as engine:
        assert await failed(ours, engine) == NOT_HTTP


async def test_half_closed_before_the_answer(ours: SocketUpstream) -> None:
    """An engine that says it will say nothing is not waited for."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hear(reader)
        writer.write_eof()
        await reader.read()

    async with raw_engine(talk) as engine:
        assert await failed(ours, engine) == WENT_AWAY


async def leaves_at_the_second(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request, and close when the next one comes, as if they had crossed."""
    await hear(reader)
    writer.write(OK)
    await hear(reader)


async def dies_at_the_second(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The same with RST."""
    await leaves_at_the_second(reader, writer)
    reset(writer)


@pytest.mark.parametrize("first", [leaves_at_the_second, dies_at_the_second])
async def test_the_keep_alive_race_is_run_again(ours: SocketUpstream, first: Talk) -> None:
    """An idle connection that dies of the request, unanswered, is replaced, once."""
    async with raw_engine(first, says(OK)) as engine:
        assert await post(ours, engine) == b"ok"
        assert await post(ours, engine) == b"ok"
        assert engine.num_connections == 2


async def test_the_race_is_not_run_twice(ours: SocketUpstream) -> None:
    """A new connection that dies unanswered is an engine that dies of the request."""
    async with raw_engine(leaves_at_the_second, says_once()) as engine:
        assert await post(ours, engine) == b"ok"
        assert await failed(ours, engine) == WENT_AWAY
        assert engine.num_connections == 2


@pytest.mark.parametrize("said", [(b"HTTP/1.1 ", 0.05), (1.2,)])
async def test_what_was_begun_or_worked_on_is_not_sent_again(
    ours: SocketUpstream, said: tuple[bytes | float, ...]
) -> None:
    """A byte of an answer, or a second of work, is no race: the engine had the request."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hear(reader)
        writer.write(OK)
        await says_once(*said)(reader, writer)

    async with raw_engine(talk, says(OK)) as engine:
        assert await post(ours, engine) == b"ok"
        assert await failed(ours, engine) == WENT_AWAY
        assert engine.num_connections == 1


async def test_a_race_lost_to_a_dead_engine_is_not_unreachable(ours: SocketUpstream) -> None:
    """UNREACHABLE promises that nothing was sent; here something was."""
    async with raw_engine(leaves_at_the_second) as engine:
        assert await post(ours, engine) == b"ok"
        engine.stop_listening()
        assert await failed(ours, engine) == WENT_AWAY
        assert await failed(ours, engine) == UNREACHABLE


@pytest.mark.parametrize("surplus", [b"!", OK, b"\r\n\r\n!"])
@pytest.mark.parametrize("is_late", [True, False])
async def test_bytes_nobody_asked_for_end_the_connection(
    ours: SocketUpstream, surplus: bytes, is_late: bool
) -> None:
    """They could pass for the answer to the next call."""
    said = (OK, 0.05, surplus) if is_late else (OK + surplus,)
    async with raw_engine(says(*said), says(OK)) as engine:
        assert await post(ours, engine) == b"ok"
        await until(lambda: engine.num_open == 0)
        assert await post(ours, engine) == b"ok"
        assert engine.num_connections == 2


async def test_a_refusal_before_the_body_is_read(ours: SocketUpstream) -> None:
    """An engine may answer before it has the whole request; that connection ends with it."""
    refusal = b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno"

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(refusal)
        await asyncio.sleep(30)

    async with raw_engine(talk) as engine:
        response = await ours.open(engine.url, {}, bytes(32 * 2**20), PATIENT)
        assert (response.status, await read(response)) == (413, b"no")
        await until(lambda: ours.pool.num_living == 0)


async def test_closed_at_the_end_but_unread_is_kept(ours: SocketUpstream) -> None:
    """The answer is all here, so nothing has to be cut."""
    async with raw_engine(says(OK)) as engine:
        for _ in range(2):
            with closing(await ours.open(engine.url, {}, b"{}", PATIENT)):
                pass
        assert engine.num_connections == 1


async def test_an_idle_connection_grows_old() -> None:
    """It is closed soon after its time, also when no call comes."""
    upstream = SocketUpstream(idle_seconds=0.1)
    async with raw_engine(says(OK)) as engine:
        assert await post(upstream, engine) == b"ok"
        assert upstream.pool.num_idle == 1
        await until(lambda: engine.num_open == 0)
        assert (upstream.pool.num_idle, upstream.pool.num_living) == (0, 0)
    await upstream.close()


async def test_idle_connections_are_bounded() -> None:
    """Those of the highest peak are not all kept."""
    upstream = SocketUpstream(max_idle=2)
    async with raw_engine(says(0.05, OK)) as engine:
        assert await asyncio.gather(*(post(upstream, engine) for _ in range(5))) == [b"ok"] * 5
        assert upstream.pool.num_idle == 2
        await until(lambda: engine.num_open == 2)
        await upstream.close()
        await until(lambda: engine.num_open == 0)


async def test_closing_ends_calls_under_way() -> None:
    """Whoever waits is told; later calls reach nobody."""
    upstream = SocketUpstream()
    async with raw_engine(stays_silent) as engine:
        waiting = asyncio.create_task(post(upstream, engine))
        await until(lambda: engine.num_open == 1)
        await upstream.close()
        with pytest.raises(EngineError) as caught:
            await waiting
        assert caught.value.code == WENT_AWAY
        assert await failed(upstream, engine) == UNREACHABLE


async def test_a_handshake_that_never_ends_is_unreachable(ours: SocketUpstream) -> None:
    """Connecting has its own deadline, TLS included; nothing is left of it."""
    async with raw_engine(stays_silent) as engine:
        engine.scheme = "https"
        deadlines = Deadlines(connect=0.2, first_byte=30, idle=30)
        assert await failed(ours, engine, deadlines) == UNREACHABLE


async def test_cancelled_at_any_moment_nothing_is_left(ours: SocketUpstream) -> None:
    """In the connect, before the head, in the body: as many sockets as calls that go on, none."""
    async with raw_engine(says(CHUNKED, *[b"1\r\nx\r\n", 0.002] * 5, b"0\r\n\r\n")) as engine:
        for number in range(40):
            task = asyncio.create_task(post(ours, engine))
            await asyncio.sleep(number / 2000)
            task.cancel()
            with suppress(asyncio.CancelledError):
                assert await task == b"xxxxx"
        await until(lambda: engine.num_open == ours.pool.num_living == ours.pool.num_idle)
        assert len(asyncio.all_tasks()) <= 1 + engine.num_open


@settings(max_examples=examples(25, full=2000))
@given(said=st.lists(st.one_of(st.binary(max_size=40), st.sampled_from([HEAD, OK])), max_size=4))
def test_garbage_never_hangs(said: list[bytes]) -> None:
    """Whatever an engine says before it closes, the call ends: with an answer or an EngineError."""

    async def talk() -> None:
        upstream = SocketUpstream()
        async with raw_engine(says_once(*said)) as engine, asyncio.timeout(20):
            with suppress(EngineError):
                await post(upstream, engine)
            await upstream.close()
        assert upstream.pool.num_living == 0

    asyncio.run(talk())
