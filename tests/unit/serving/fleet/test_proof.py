"""Proof: what a gateway worker knows of its replicas, and how fast it forgets."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from serving.errors import EngineError
from serving.fleet.memory import MemoryEngine
from serving.fleet.proof import ProofBook, Prover
from serving.settings import Settings

Engines = dict[str, tuple[MemoryEngine, ...]]
A = "support-v1-00000000"
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
    await prover.look(pool, engine)
    assert prover.replicas_for("small", None) == (engine.url,)
    assert prover.replicas_for("small", A) == ()
    engine.fail_probe = ""
    await prover.look(pool, engine)
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
            await prover.look(pool, engine)
    assert prover.replicas_for("small", A) == ()
    assert [record.name for record in caplog.records] == ["strop.serving"]
    assert "adapter_root" in caplog.text


async def test_a_restarted_engine_is_proved_anew(settings: Settings, engines: Engines) -> None:
    """What is not listed any more is not routed to any more; a dead engine not at all."""
    prover = Prover(settings, engines)
    pool, (engine, _) = settings.pool("small"), engines["small"]
    await engine.load(A, REMOTE)
    await prover.look(pool, engine)
    engine.is_down = True
    await prover.look(pool, engine)
    assert prover.replicas_for("small", None) == ()
    engine.restart()
    await prover.look(pool, engine)
    assert prover.replicas_for("small", None) == (engine.url,)
    assert prover.replicas_for("small", A) == ()


async def test_what_is_proved_is_not_probed_again(settings: Settings, engines: Engines) -> None:
    """One token per adapter and replica, not one a second."""
    prover = Prover(settings, engines)
    pool, (engine, _) = settings.pool("small"), engines["small"]
    await engine.load(A, REMOTE)
    await prover.look(pool, engine)
    engine.fail_probe = "nobody should ask"
    await prover.look(pool, engine)
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


async def test_looking_survives_an_engine_that_talks_nonsense(settings: Settings) -> None:
    """A replica that breaks every rule is unproved; the others are looked at as ever."""
    broken = _Broken("http://small-0")
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


class _Broken(MemoryEngine):
    """An engine whose list is an error, ours or not."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.error: Exception = KeyError("data")
        self.is_asked = asyncio.Event()

    async def list_adapters(self) -> dict[str, str]:
        self.is_asked.set()
        raise self.error


@asynccontextmanager
async def _running(prover: Prover) -> AsyncIterator[None]:
    task = asyncio.create_task(prover.run())
    yield
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
