"""Proof: what a gateway worker knows of its replicas, and how fast it forgets."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from serving.errors import EngineError
from serving.fleet.memory import MemoryEngine
from serving.fleet.proof import ProofBook, Prover
from serving.sections import PoolSettings
from serving.settings import Settings
from serving.types import PoolKind
from tests.gateway import until
from tests.odd_engines import BrokenEngine, CountingEngine, SlowEngine

Engines = dict[str, tuple[MemoryEngine, ...]]
A = "support-v1-00000000"
B = "support-v2-00000000"
REMOTE = f"/remote/adapters/{A}"


def _book() -> ProofBook:
    return ProofBook({"small": ("u0", "u1"), "large": ("u2",)})


def test_nothing_is_proved_at_first() -> None:
    """Not even the base model: no replica has been seen yet."""
    book = _book()
    assert book.replicas_for("small", None) == ()
    assert book.replicas_for("nothing", A) == ()
    assert book.proved == {}


def test_routes_follow_the_notes() -> None:
    """The base needs health; an adapter its own proof, replica by replica, in order."""
    book = _book()
    book.note("u1", 0, is_healthy=True, adapters=frozenset({A}))
    book.note("u0", 0, is_healthy=True, adapters=frozenset())
    book.note("u2", 0, is_healthy=True, adapters=frozenset({A}))
    assert book.replicas_for("small", None) == ("u0", "u1")
    assert book.replicas_for("small", A) == ("u1",)
    assert book.replicas_for("large", A) == ("u2",)
    assert book.proved == {"u0": [], "u1": [A], "u2": [A]}


def test_a_failure_counts_at_once() -> None:
    """404 takes back one adapter, a dead connection all of the replica."""
    book = _book()
    for url in ("u0", "u1"):
        book.note(url, 0, is_healthy=True, adapters=frozenset({A}))
    book.unprove("u0", A)
    assert book.replicas_for("small", A) == ("u1",)
    assert book.replicas_for("small", None) == ("u0", "u1")
    book.unprove("u1")
    assert book.replicas_for("small", A) == ()
    assert book.replicas_for("small", None) == ("u0",)


def test_a_look_that_began_before_a_failure_is_void() -> None:
    """Else a look that was slow to answer could prove what a request has just disproved."""
    book = _book()
    epoch = book.epoch_of("u0")
    book.unprove("u0", A)
    book.note("u0", epoch, is_healthy=True, adapters=frozenset({A}))
    assert book.replicas_for("small", A) == ()
    book.note("u0", book.epoch_of("u0"), is_healthy=True, adapters=frozenset({A}))
    assert book.replicas_for("small", A) == ("u0",)


async def test_an_adapter_is_proved_by_path_and_probe(settings: Settings, engines: Engines) -> None:
    """The path is the one that this pool's engines know; a probe has to be answered."""
    prover = Prover(settings, engines)
    pool, (engine, _) = settings.pool("small"), engines["small"]
    await engine.load(A, REMOTE)
    engine.fail_probe = "out of memory"
    await _look(prover, pool, engine)
    assert prover.replicas_for("small", None) == (engine.url,)
    assert prover.replicas_for("small", A) == ()
    engine.fail_probe = ""
    await _look(prover, pool, engine)
    assert prover.replicas_for("small", A) == (engine.url,)


async def test_an_adapter_from_elsewhere_is_never_proved(
    settings: Settings, engines: Engines, caplog: pytest.LogCaptureFixture
) -> None:
    """Right name, wrong path: whose weights these are nobody knows. Said once, not every second."""
    prover = Prover(settings, engines)
    pool, (engine, _) = settings.pool("small"), engines["small"]
    await engine.load(A, str(settings.adapter_dir / A))
    with caplog.at_level(logging.WARNING, "strop.serving"):
        for _ in range(3):
            await _look(prover, pool, engine)
    assert prover.replicas_for("small", A) == ()
    (told,) = [record for record in caplog.records if record.name == "strop.serving"]
    assert "adapter_root" in told.getMessage()


async def test_a_restarted_engine_is_proved_anew(settings: Settings, engines: Engines) -> None:
    """What is not listed any more is not routed to any more; a dead engine not at all."""
    prover = Prover(settings, engines)
    pool, (engine, _) = settings.pool("small"), engines["small"]
    await engine.load(A, REMOTE)
    await _look(prover, pool, engine)
    engine.is_down = True
    await _look(prover, pool, engine)
    assert prover.replicas_for("small", None) == ()
    engine.restart()
    await _look(prover, pool, engine)
    assert prover.replicas_for("small", None) == (engine.url,)
    assert prover.replicas_for("small", A) == ()


async def test_what_is_proved_is_not_probed_again(settings: Settings, engines: Engines) -> None:
    """One token per adapter and replica, not one a second."""
    prover = Prover(settings, engines)
    pool, (engine, _) = settings.pool("small"), engines["small"]
    await engine.load(A, REMOTE)
    await _look(prover, pool, engine)
    engine.fail_probe = "nobody should ask"
    await _look(prover, pool, engine)
    assert prover.replicas_for("small", A) == (engine.url,)


async def test_waiting_for_a_proof(settings: Settings, engines: Engines) -> None:
    """`prove` is true as soon as one replica holds each adapter, false when time is up."""
    prover = Prover(settings, engines, look_seconds=60)
    async with _running(prover):
        assert not await prover.prove({"small": {A}}, timeout=0.3)
        waiting = asyncio.create_task(prover.prove({"small": {A}, "large": set()}, timeout=60))
        await engines["small"][1].load(A, REMOTE)
        assert await waiting
        assert prover.replicas_for("small", A) == (engines["small"][1].url,)
        assert not await prover.prove({"nothing": {A}}, timeout=0)


async def test_a_death_that_a_request_met_first_is_told(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Under load it nearly always is; the log still says when the replica went and came back."""
    engine = MemoryEngine("http://small-0")
    prover, told = Prover(settings, {"small": (engine,)}, look_seconds=60), list[str]()

    def messages() -> list[str]:
        return [one.getMessage() for one in caplog.records if one.name == "strop.serving"]

    with caplog.at_level(logging.INFO, "strop.serving"):
        async with _running(prover):
            for is_down, words in ((False, "is healthy"), (True, "is not healthy")) * 2:
                engine.is_down = is_down
                prover.unprove(engine.url)
                told.append(f"{engine.url} {words}")
                await until(lambda: messages() == told)


async def test_looking_survives_an_engine_that_talks_nonsense(settings: Settings) -> None:
    """A replica that breaks every rule is unproved; the others are looked at as ever."""
    broken = BrokenEngine("http://small-0")
    well = MemoryEngine("http://small-1")
    prover = Prover(settings, {"small": (broken, well)}, look_seconds=0.01)
    async with _running(prover):
        await well.load(A, REMOTE)
        assert await prover.prove({"small": {A}}, timeout=60)
        broken.error = EngineError("The engine http://small-0 cannot be reached.")
        for _ in range(3):
            broken.is_asked.clear()
            await broken.is_asked.wait()
        assert prover.replicas_for("small", A) == (well.url,)
        prover.unprove(well.url, A)
        assert await prover.prove({"small": {A}}, timeout=60)


async def test_a_slow_probe_delays_no_other_and_no_news(
    settings: Settings, engines: Engines
) -> None:
    """One adapter's probe hangs: the next is proved, and the engine's death is seen."""
    slow = SlowEngine("http://small-0", A)
    prover = Prover(settings, {"small": (slow,)})
    pool = settings.pool("small")
    for name in (A, B):
        await slow.load(name, f"/remote/adapters/{name}")
    for _ in range(3):
        await _look(prover, pool, slow)
    assert prover.replicas_for("small", B) == (slow.url,)
    assert prover.replicas_for("small", A) == ()
    assert slow.probes == [A, B]  # one at a time
    slow.is_down = True
    await _look(prover, pool, slow)
    assert prover.replicas_for("small", B) == ()
    assert slow.num_cut_off == 1


async def test_champions_are_probed_first(settings: Settings) -> None:
    """Traffic waits for them; the others are loaded just in case."""
    engine = SlowEngine("http://small-0", "")
    prover = Prover(settings, {"small": (engine,)})
    prover.champions = frozenset({B})
    for name in (A, B):
        await engine.load(name, f"/remote/adapters/{name}")
    await _look(prover, settings.pool("small"), engine)
    assert engine.probes == [B, A]


@pytest.mark.parametrize("is_failure_seen", [True, False])
async def test_a_probe_that_began_before_a_failure_is_void(
    settings: Settings, is_failure_seen: bool
) -> None:
    """Whether a request met the failure, or a look finds the adapter gone: another probe decides."""
    slow = SlowEngine("http://small-0", A)
    prover = Prover(settings, {"small": (slow,)})
    pool = settings.pool("small")
    await slow.load(A, REMOTE)
    await _look(prover, pool, slow)
    if is_failure_seen:
        prover.unprove(slow.url)
    else:
        await slow.unload(A)
        await _look(prover, pool, slow)
        await slow.load(A, REMOTE)
    slow.may_answer.set()
    await _settle()
    assert prover.replicas_for("small", A) == ()
    await _look(prover, pool, slow)
    assert prover.replicas_for("small", A) == (slow.url,)
    assert slow.probes == [A, A]


async def test_no_probe_outlives_the_prover(settings: Settings) -> None:
    """Whoever stops the looks stops the probes."""
    slow = SlowEngine("http://small-0", A)
    await slow.load(A, REMOTE)
    async with _running(Prover(settings, {"small": (slow,)})):
        await until(lambda: bool(slow.probes))
    assert slow.num_cut_off == 1


async def test_an_upstream_is_not_asked_every_second(settings: Settings) -> None:
    """It is somebody else's, and may count; a failed request has it looked at at once."""
    upstream = settings.pools[0].model_copy(update={"kind": PoolKind.OPENAI})
    own = settings.pools[1]
    engines = {pool.name: (CountingEngine(pool.urls[0]),) for pool in (upstream, own)}
    prover = Prover(
        settings.model_copy(update={"pools": (upstream, own)}), engines, look_seconds=0.01
    )
    async with _running(prover):
        await until(lambda: engines["large"][0].num_looks >= 5)
        assert engines["small"][0].num_looks == 1
        prover.unprove(upstream.urls[0])
        await until(lambda: engines["small"][0].num_looks == 2)


async def _look(prover: Prover, pool: PoolSettings, engine: MemoryEngine) -> None:
    """Look, and have the probes that do not hang come to their end."""
    await prover.look(pool, engine)
    await _settle()


async def _settle() -> None:
    for _ in range(5):  # an engine in memory never waits
        await asyncio.sleep(0)


@asynccontextmanager
async def _running(prover: Prover) -> AsyncIterator[None]:
    task = asyncio.create_task(prover.run())
    yield
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
