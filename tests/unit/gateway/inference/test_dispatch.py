"""Who gets a place at which replica, who waits for one, and who is told to come back later."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.inference.dispatch import Dispatcher
from gateway.inference.place import Place, Wanted
from monitoring.metrics import Metrics, Served
from serving.errors import EngineError, UnavailableError
from serving.fleet.memory import MemoryEngine
from serving.fleet.proof import Prover
from serving.settings import Settings

A, B = "http://a:1", "http://b:1"
SERVED = Served(tenant="acme", alias="support", release="1", arm="champion")
SERIES = '{alias="support",arm="champion",release="1",tenant="acme"}'
QUEUED = 'strop_queued{alias="support",arm="champion",pool="default",release="1",tenant="acme"}'
BASE = Wanted(pool="default", adapter=None, served=SERVED)


class World:
    """A dispatcher over two replicas that are well, and a clock that a test turns."""

    def __init__(self, home: Path, **routing: Any) -> None:
        self.now = 100.0
        max_in_flight = routing.pop("max_in_flight", 2)
        self.settings = Settings.model_validate(
            {
                "home": home,
                "engine": {"urls": (A, B), "max_in_flight": max_in_flight},
                "routing": {"queue_seconds": 5, "eject_after": 2, **routing},
            }
        )
        self.metrics = Metrics()
        self.prover = Prover(self.settings, {"default": (MemoryEngine(A), MemoryEngine(B))})
        for url in (A, B):
            self.prover.book.note(url, 0, is_healthy=True, adapters=frozenset())
        self.dispatcher = Dispatcher(self.prover, self.settings, self.metrics, lambda: self.now)

    async def answer(self, wanted: Wanted = BASE) -> str:
        """Have one request answered; return by whom."""
        with await self.dispatcher.take(wanted) as place:
            return place.replica

    async def fail(self, replica: str) -> None:
        """Have one request fail at a replica."""
        other = B if replica == A else A
        place = await self.dispatcher.take(replace(BASE, tried=(other,)))
        with pytest.raises(EngineError), place:
            raise EngineError("It broke.")

    def metric(self, line: str) -> bool:
        """Whether /metrics says so."""
        return line in self.metrics.render().decode().splitlines()


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two replicas with two places each."""
    return World(tmp_path)


async def test_places_are_dealt_to_the_least_busy(world: World) -> None:
    """Two replicas fill evenly, and idle ones take turns."""
    places = [await world.dispatcher.take(BASE) for _ in range(4)]
    assert sorted(place.replica for place in places) == [A, A, B, B]
    for place in places:
        place.give_back()
    assert {await world.answer() for _ in range(2)} == {A, B}


async def test_who_finds_no_room_waits_its_turn(world: World) -> None:
    """First come, first served, the moment a place is free."""
    places = [await world.dispatcher.take(BASE) for _ in range(4)]
    first, second = (asyncio.create_task(world.dispatcher.take(BASE)) for _ in range(2))
    await asyncio.sleep(0)
    assert world.metric(f"{QUEUED} 2.0")
    places[2].give_back()
    assert (await first).replica == places[2].replica
    assert not second.done()
    places[0].give_back()
    assert (await second).replica == places[0].replica
    assert world.metric(f"{QUEUED} 0.0")
    assert world.metric(f"strop_queue_seconds_count{SERIES} 2.0")


async def test_a_full_queue_sends_away_at_once(tmp_path: Path) -> None:
    """503 with Retry-After, and counted."""
    world = World(tmp_path, queue_size=0)
    for _ in range(4):
        await world.dispatcher.take(BASE)
    with pytest.raises(UnavailableError) as caught:
        await world.dispatcher.take(BASE)
    assert caught.value.code == "no_capacity"
    assert caught.value.retry_after is not None
    assert world.metric('strop_shed_total{pool="default",why="queue_full"} 1.0')


async def test_a_queue_that_would_take_too_long_is_not_joined(world: World) -> None:
    """Four places for half a minute each: whoever came now would wait longer than it may."""
    places = [await world.dispatcher.take(BASE) for _ in range(4)]
    world.now += 30
    with places.pop():
        pass
    places.append(await world.dispatcher.take(BASE))
    with pytest.raises(UnavailableError) as caught:
        await world.dispatcher.take(BASE)
    assert caught.value.retry_after == 7.5
    assert world.metric('strop_shed_total{pool="default",why="queue_slow"} 1.0')


async def test_a_queue_that_stands_still_is_not_joined(world: World) -> None:
    """However fast it moved before."""
    answered(await world.dispatcher.take(BASE))
    for _ in range(4):
        await world.dispatcher.take(BASE)
    waiting = asyncio.create_task(world.dispatcher.take(BASE))
    await asyncio.sleep(0)
    world.now += 3
    with pytest.raises(UnavailableError) as caught:
        await world.dispatcher.take(BASE)
    assert caught.value.retry_after == 6
    waiting.cancel()


async def test_few_requests_make_no_queue_slow(world: World) -> None:
    """After quiet hours, two that come together are one too many for no longer than one takes."""
    for _ in range(3):
        place = await world.dispatcher.take(BASE)
        world.now += 1
        answered(place)
        world.now += 3600
    places = [await world.dispatcher.take(BASE) for _ in range(4)]
    waiting = asyncio.create_task(world.dispatcher.take(BASE))
    await asyncio.sleep(0)
    world.now += 1
    answered(places[0])
    assert (await waiting).replica == places[0].replica


def answered(place: Place) -> None:
    """End as a request does that was answered."""
    with place:
        pass


def refused(place: Place) -> None:
    """End as a request does that the replica had no room for."""
    with place:
        place.fail()


def broken(place: Place) -> None:
    """End as a request does whose replica had a bug."""
    with pytest.raises(EngineError), place:
        raise EngineError("It broke.")


def left(place: Place) -> None:
    """End as a request does whose client hung up."""
    with pytest.raises(asyncio.CancelledError), place:
        raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("end", "retry_after"),
    [(answered, 1), (left, 1), (refused, 5), (broken, 5), (Place.give_back, 5)],
)
async def test_only_what_was_served_says_how_fast_the_queue_moves(
    tmp_path: Path, end: Callable[[Place], None], retry_after: float
) -> None:
    """Ten in a second. A replica that refuses does so at once: nobody gets through by that."""
    world = World(tmp_path, queue_size=0)
    for _ in range(10):
        world.now += 0.1
        end(await world.dispatcher.take(BASE))
    for _ in range(4):
        await world.dispatcher.take(BASE)
    with pytest.raises(UnavailableError) as caught:
        await world.dispatcher.take(BASE)
    assert caught.value.retry_after == retry_after


async def test_a_wait_has_an_end(tmp_path: Path) -> None:
    """After `queue_seconds` it is 503, and the queue is as before."""
    world = World(tmp_path, queue_seconds=0.05)
    for _ in range(4):
        await world.dispatcher.take(BASE)
    with pytest.raises(UnavailableError) as caught:
        await world.dispatcher.take(BASE)
    assert caught.value.code == "no_capacity"
    assert world.metric('strop_shed_total{pool="default",why="queue_timeout"} 1.0')
    assert world.metric(f"{QUEUED} 0.0")


@pytest.mark.parametrize("is_dealt", [True, False])
async def test_who_leaves_the_queue_loses_nobody_a_place(world: World, is_dealt: bool) -> None:
    """Cancelled while it waits, or in the moment that it got a place: the next one gets it."""
    places = [await world.dispatcher.take(BASE) for _ in range(4)]
    leaver, stayer = (asyncio.create_task(world.dispatcher.take(BASE)) for _ in range(2))
    await asyncio.sleep(0)
    if is_dealt:
        places[0].give_back()
    leaver.cancel()
    if not is_dealt:
        places[0].give_back()
    assert (await stayer).replica == places[0].replica
    assert leaver.cancelled()


async def test_a_replica_that_comes_while_one_waits_is_noticed(world: World) -> None:
    """No place becomes free, yet one is there: proofs tell nobody, so the queue looks."""
    world.prover.unprove(B)
    for _ in range(2):
        await world.dispatcher.take(BASE)
    waiting = asyncio.create_task(world.dispatcher.take(BASE))
    await asyncio.sleep(0)
    world.prover.book.note(B, world.prover.book.epoch_of(B), is_healthy=True, adapters=frozenset())
    async with asyncio.timeout(20):
        assert (await waiting).replica == B


async def test_who_waits_for_what_is_gone_is_told(world: World) -> None:
    """The last replica is lost: nobody waits for it any longer."""
    world.prover.unprove(B)
    for _ in range(2):
        await world.dispatcher.take(BASE)
    waiting = asyncio.create_task(world.dispatcher.take(BASE))
    await asyncio.sleep(0)
    world.prover.unprove(A)
    with pytest.raises(UnavailableError) as caught:
        async with asyncio.timeout(20):
            await waiting
    assert caught.value.code == "no_engine"


async def test_a_replica_that_fails_is_left_alone_then_tried(world: World) -> None:
    """Out after two failures, one trial when the pause is over, all traffic when that is answered."""
    await world.fail(A)
    await world.fail(A)
    assert world.dispatcher.is_ejected(A)
    assert {await world.answer() for _ in range(4)} == {B}
    world.now += 2
    others = [await world.dispatcher.take(BASE)]
    trial = others[0] if others[0].replica == A else await world.dispatcher.take(BASE)
    assert trial.replica == A
    assert (await world.dispatcher.take(BASE)).replica == B
    with trial:
        pass
    assert not world.dispatcher.is_ejected(A)


@pytest.mark.parametrize("leave", [Place.give_back, left])
async def test_a_trial_that_says_nothing_is_repeated(
    world: World, leave: Callable[[Place], None]
) -> None:
    """Its client left: the replica is neither in nor out for longer."""
    await world.fail(A)
    await world.fail(A)
    world.now += 2
    only_a = replace(BASE, tried=(B,))
    leave(await world.dispatcher.take(only_a))
    assert world.dispatcher.is_ejected(A)
    assert await world.answer(only_a) == A
    assert not world.dispatcher.is_ejected(A)


async def test_where_all_are_out_none_is(world: World) -> None:
    """No replica is put out if that left nobody: a request that breaks engines breaks no pool."""
    for _ in range(3):
        await world.fail(A)
        await world.fail(B)
    assert {(await world.dispatcher.take(BASE)).replica for _ in range(2)} == {A, B}


async def test_each_worker_sends_its_share(tmp_path: Path) -> None:
    """`max_in_flight` is of the replica: 3 places, 2 workers, so 2 each at most."""
    settings = World(tmp_path).settings
    shared = settings.model_copy(
        update={
            "gateway": settings.gateway.model_copy(update={"workers": 2}),
            "engine": settings.engine.model_copy(update={"max_in_flight": 3}),
        }
    )
    world = World(tmp_path, queue_size=0)
    world.dispatcher = Dispatcher(world.prover, shared, world.metrics)
    for _ in range(4):
        await world.dispatcher.take(BASE)
    waiting = asyncio.create_task(world.dispatcher.take(BASE))
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()
