"""What every client of the data path has to do, tried on a real socket."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import closing

import pytest

from gateway.upstream.errors import UNREACHABLE, WENT_AWAY
from gateway.upstream.protocol import Deadlines, Taker, Upstream, UpstreamResponse
from serving.errors import EngineError, EngineTimeoutError
from tests.upstream_server import Answer, FakeEngine, Fault, fake_engine

PATIENT = Deadlines(first_byte=30, idle=30)
BODY = b'{"model":"base"}'


@pytest.fixture
async def engine() -> AsyncIterator[FakeEngine]:
    """An engine to fail in every way."""
    async with fake_engine() as found:
        yield found


async def call(
    upstream: Upstream, engine: FakeEngine, deadlines: Deadlines = PATIENT
) -> UpstreamResponse:
    """Send the one request of these tests."""
    headers = {"content-type": "application/json", "x-request-id": "r1"}
    return await upstream.open(f"{engine.url}/v1/chat/completions", headers, BODY, deadlines)


async def read(response: UpstreamResponse) -> bytes:
    """Read an answer to its end."""
    with closing(response):
        return b"".join([piece async for piece in pieces_of(response)])


async def pieces_of(response: UpstreamResponse, taker: Taker | None = None) -> AsyncIterator[bytes]:
    """Read piece by piece what is not taken."""
    while piece := await response.read(taker):
        yield piece


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for it, with wide slack."""
    async with asyncio.timeout(20):
        while not is_so():  # noqa: ASYNC110 - asks a server that knows nothing of events
            await asyncio.sleep(0.01)


async def test_sends_what_it_was_given_and_nothing_of_its_own(
    upstream: Upstream, engine: FakeEngine
) -> None:
    """Body and headers arrive as given; no cookie, no compression is offered."""
    assert await read(await call(upstream, engine))
    received = engine.calls[0]
    assert received.body == BODY
    assert received.headers["x-request-id"] == "r1"
    assert received.headers["accept-encoding"] == "identity"
    assert "cookie" not in received.headers


@pytest.mark.parametrize("is_chunked", [True, False])
async def test_every_byte_of_the_body_arrives(
    upstream: Upstream, engine: FakeEngine, is_chunked: bool
) -> None:
    """Sized and chunked bodies come through whole, in order."""
    pieces = [bytes([number % 256]) * 40_000 for number in range(50)]
    engine.script = lambda _: Answer(pieces=list(pieces), is_chunked=is_chunked)
    assert await read(await call(upstream, engine)) == b"".join(pieces)


async def test_a_piece_is_here_before_the_next_is_sent(
    upstream: Upstream, engine: FakeEngine
) -> None:
    """Nothing is collected: the first piece arrives although the second never does."""
    engine.script = lambda _: Answer(pieces=[b"first", Fault.STALL])
    with closing(await call(upstream, engine)) as response:
        assert await response.read() == b"first"


@pytest.mark.parametrize(
    "is_taken", [lambda _: True, lambda piece: piece[0] % 2 == 0], ids=["all", "some"]
)
async def test_what_is_taken_as_it_comes_is_not_returned(
    upstream: Upstream, engine: FakeEngine, is_taken: Callable[[bytes], bool]
) -> None:
    """All of it arrives once and in order, whoever got it."""
    sent = [bytes([number]) * 10_000 for number in range(100)]
    engine.script = lambda _: Answer(pieces=list(sent), is_chunked=True)
    got: list[bytes] = []

    def taker(piece: bytes) -> bool:
        if is_taken(piece):
            got.append(piece)
            return True
        return False

    with closing(await call(upstream, engine)) as response:
        async for piece in pieces_of(response, taker):
            got.append(piece)  # noqa: PERF401 - the taker appends in between
    assert b"".join(got) == b"".join(sent)


async def test_nothing_is_taken_while_nobody_waits(upstream: Upstream, engine: FakeEngine) -> None:
    """Whoever is busy with a piece would have the next one overtake it."""
    engine.script = lambda _: Answer(pieces=[0.2, b"first", 0.2, b"second", Fault.STALL])
    offered: list[bytes] = []

    def leave(piece: bytes) -> bool:
        offered.append(piece)
        return False

    with closing(await call(upstream, engine)) as response:
        got = await response.read(leave)
        num_offered = len(offered)
        await asyncio.sleep(0.4)
        assert len(offered) == num_offered
        while got != b"firstsecond":
            got += await response.read()


async def test_silence_after_what_was_taken_is_an_error(
    upstream: Upstream, engine: FakeEngine
) -> None:
    """The deadline moves with every piece, taken or returned."""
    slow: list[bytes | float | Fault] = [b"first", *[0.5, b"more"] * 3, Fault.STALL]
    engine.script = lambda _: Answer(pieces=slow)
    got: list[bytes] = []

    def take(piece: bytes) -> bool:
        got.append(piece)
        return True

    async def read_slowly() -> None:
        with closing(await call(upstream, engine, Deadlines(first_byte=30, idle=1))) as response:
            async for piece in pieces_of(response, take):
                take(piece)

    with pytest.raises(EngineTimeoutError):
        await read_slowly()
    assert b"".join(got) == b"firstmoremoremore"


@pytest.mark.parametrize("is_chunked", [True, False])
async def test_the_end_is_known_with_the_last_byte(
    upstream: Upstream, engine: FakeEngine, is_chunked: bool
) -> None:
    """A body that is here is handed over without a wait, and so is its end, however often."""
    engine.script = lambda _: Answer(pieces=[b"whole"], is_chunked=is_chunked)
    with closing(await call(upstream, engine)) as response:
        while await response.read():
            pass
        for _ in range(2):
            with pytest.raises(StopIteration) as done:
                response.read().send(None)
            assert done.value.value == b""


async def test_compressed_bytes_stay_as_they_are(upstream: Upstream, engine: FakeEngine) -> None:
    """An engine that compresses unasked is passed on, not decoded."""
    engine.script = lambda _: Answer(headers={"content-encoding": "gzip"}, pieces=[b"not gzip"])
    assert await read(await call(upstream, engine)) == b"not gzip"


async def test_a_redirect_is_an_answer_like_any_other(
    upstream: Upstream, engine: FakeEngine
) -> None:
    """Nobody sends the gateway elsewhere."""
    engine.script = lambda _: Answer(status=302, headers={"location": f"{engine.url}/elsewhere"})
    response = await call(upstream, engine)
    assert response.status == 302
    await read(response)
    assert len(engine.calls) == 1


async def test_a_connection_is_used_again(upstream: Upstream, engine: FakeEngine) -> None:
    """Keep-alive: ten calls one after the other need one connection."""
    for _ in range(10):
        await read(await call(upstream, engine))
    assert engine.num_connections == 1


async def test_a_closed_port_is_unreachable(upstream: Upstream) -> None:
    """Connection refused: nothing was sent, and the error says so."""
    async with fake_engine() as engine:
        pass
    with pytest.raises(EngineError) as caught:
        await call(upstream, engine)
    assert caught.value.code == UNREACHABLE


@pytest.mark.parametrize("fault", [Fault.RESET, Fault.END])
async def test_gone_before_the_head(upstream: Upstream, engine: FakeEngine, fault: Fault) -> None:
    """Reset or closed before the answer's head: the engine went away."""
    engine.script = lambda _: Answer(before_head=fault)
    with pytest.raises(EngineError) as caught:
        await call(upstream, engine)
    assert caught.value.code == WENT_AWAY


@pytest.mark.parametrize("fault", [Fault.RESET, Fault.END])
@pytest.mark.parametrize("is_chunked", [True, False])
async def test_gone_in_the_middle(
    upstream: Upstream, engine: FakeEngine, fault: Fault, is_chunked: bool
) -> None:
    """A body cut short is never taken for a whole one; what came before the cut is there."""
    engine.script = lambda _: Answer(pieces=[b"half", 0.05, fault, b"gone"], is_chunked=is_chunked)
    with closing(await call(upstream, engine)) as response:
        got = await response.read()
        with pytest.raises(EngineError) as caught:
            await response.read()
    assert got == b"half"
    assert caught.value.code == WENT_AWAY


async def test_silence_before_the_head_times_out(upstream: Upstream, engine: FakeEngine) -> None:
    """An engine that accepts and never answers is given up."""
    engine.script = lambda _: Answer(before_head=Fault.STALL)
    with pytest.raises(EngineTimeoutError):
        await call(upstream, engine, Deadlines(first_byte=0.2, idle=30))
    await until(lambda: engine.num_hung_up == 1)


async def test_the_first_byte_has_its_own_deadline(upstream: Upstream, engine: FakeEngine) -> None:
    """vLLM sends the head at once and thinks then: the first token may take longer than idle."""
    engine.script = lambda _: Answer(pieces=[0.6, b"first"])
    response = await call(upstream, engine, Deadlines(first_byte=30, idle=0.2))
    assert await read(response) == b"first"


async def test_silence_between_pieces_times_out(upstream: Upstream, engine: FakeEngine) -> None:
    """An engine that falls silent in the middle is given up, and told."""
    engine.script = lambda _: Answer(pieces=[b"first", Fault.STALL])
    with closing(await call(upstream, engine, Deadlines(first_byte=30, idle=0.2))) as response:
        assert await response.read() == b"first"
        with pytest.raises(EngineTimeoutError):
            await response.read()
    await until(lambda: engine.num_hung_up == 1)


async def test_closing_early_hangs_up(upstream: Upstream, engine: FakeEngine) -> None:
    """Closing an answer in the middle closes the connection, so the engine stops."""
    engine.script = lambda _: Answer(pieces=[b"first", Fault.STALL])
    with closing(await call(upstream, engine)) as response:
        await response.read()
    await until(lambda: engine.num_hung_up == 1)


async def test_cancelling_a_call_hangs_up(upstream: Upstream, engine: FakeEngine) -> None:
    """Cancelled while it waits for the head: the engine hears of it."""
    engine.script = lambda _: Answer(before_head=Fault.STALL)
    task = asyncio.create_task(call(upstream, engine))
    await until(lambda: len(engine.calls) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: engine.num_hung_up == 1)


@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=pytest.mark.prove)])
async def test_cancelled_calls_leak_nothing(
    upstream: Upstream, engine: FakeEngine, count: int
) -> None:
    """After many calls cancelled at any moment, fresh ones are all answered."""
    engine.script = lambda _: Answer(pieces=[b"a", 0.01, b"b", 0.01, b"c"])

    async def begin_and_cancel(number: int) -> None:
        task = asyncio.create_task(read_all())
        await asyncio.sleep(number % 30 / 1000)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def read_all() -> bytes:
        return await read(await call(upstream, engine))

    for start in range(0, count, 20):
        await asyncio.gather(*(begin_and_cancel(number) for number in range(start, start + 20)))
    assert await asyncio.gather(*(read_all() for _ in range(20))) == [b"abc"] * 20
