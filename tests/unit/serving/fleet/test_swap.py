"""Promotion and rollback: all replicas or none, one winner, and a way back from every crash."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from serving.errors import (
    ConflictError,
    EngineError,
    InvalidRequestError,
    NotFoundError,
    StropError,
    UnavailableError,
)
from serving.fleet import swap
from serving.fleet.reconcile import reconcile
from serving.store.aliases import create_alias, id_of, list_aliases
from serving.store.catalog import load_catalog
from serving.store.releases import create_release
from serving.store.tables import Adapter, GatewayWorker, Promotion, utc_now
from serving.types import ReleaseState, Task
from tests.walks import AddRelease, Walks


async def test_a_promotion_loads_everywhere_and_flips_once(
    walks: Walks, add_release: AddRelease
) -> None:
    """Champion becomes previous, retired; the row says who, why, from, to, and which revision."""
    adapter, release = await add_release()
    promotion = await walks.promote(release.number)
    served = await walks.served()
    assert (served.champion.adapter, served.previous and served.previous.number) == (
        adapter.name,
        1,
    )
    assert (served.challenger, served.canary_percent) == (None, 0)
    for engine in walks.engines["small"]:
        assert await engine.list_adapters() == {adapter.name: f"/remote/adapters/{adapter.name}"}
    assert walks.engines["large"][0].loads == []
    assert await walks.state(1) is ReleaseState.RETIRED
    assert await walks.state(2) is ReleaseState.CHAMPION
    assert await walks.history() == [promotion]
    assert (promotion.actor, promotion.reason, promotion.is_forced) == ("console", "a test", True)
    async with walks.database.session() as session:
        assert promotion.revision == (await load_catalog(session)).revision


@pytest.mark.parametrize("pool", ["small", "large"])
async def test_a_release_without_adapter_needs_no_load(walks: Walks, pool: str) -> None:
    """Another prompt or another base is a flip, even while its engines are down."""
    async with walks.database.session() as session:
        release = await create_release(session, walks.alias, pool=pool, system_prompt="Be kind.")
    for engine in walks.engines["small"]:
        engine.is_down = True
    await walks.promote(release.number)
    served = await walks.served()
    assert (served.champion.system_prompt, served.champion.pool) == ("Be kind.", pool)
    await walks.rollback()
    assert (await walks.served()).champion.number == 1
    assert walks.loads() == 0


@pytest.mark.parametrize("fault", ["load", "probe", "path"])
async def test_one_failing_replica_leaves_everything_as_it_was(
    walks: Walks, add_release: AddRelease, fault: str
) -> None:
    """The old version answers everywhere; the new one is a candidate again and loaded nowhere."""
    adapter, release = await add_release()
    before = await walks.served()
    well, ill = walks.engines["small"]
    if fault == "load":
        ill.fail_load = "rank too high"
    elif fault == "probe":
        ill.fail_probe = "rank too high"
    else:
        await ill.load(adapter.name, "/elsewhere")
    with pytest.raises(StropError, match=ill.url):
        await walks.promote(release.number)
    after = await walks.served()
    assert (after.champion, after.challenger, after.previous) == (before.champion, None, None)
    assert await walks.state(release.number) is ReleaseState.CANDIDATE
    assert await well.list_adapters() == {}
    assert await walks.history() == []
    ill.restart()
    ill.fail_load = ill.fail_probe = ""
    await walks.promote(release.number)
    assert (await walks.served()).champion.adapter == adapter.name


async def test_what_a_worker_may_be_using_is_unloaded_later(
    walks: Walks, add_release: AddRelease
) -> None:
    """A withdrawn challenger may have been pinned: the reconciler waits for the workers' word."""
    adapter, release = await add_release()
    async with walks.database.session() as session:
        await session.merge(_worker(revision=1))
    well, ill = walks.engines["small"]
    ill.fail_load = "rank too high"
    with pytest.raises(EngineError):
        await walks.promote(release.number)
    assert adapter.name in await well.list_adapters()
    async with walks.database.session() as session:
        await session.merge(_worker(revision=10**6))
    await reconcile(walks.database, walks.settings, walks.engines)
    assert await well.list_adapters() == {}


async def test_a_replica_that_is_down_does_not_stop_a_promotion(
    walks: Walks, add_release: AddRelease
) -> None:
    """It gets the adapter when it comes back; if all are down there is nothing to prove it."""
    adapter, release = await add_release()
    up, down = walks.engines["small"]
    up.is_down = down.is_down = True
    with pytest.raises(UnavailableError, match="No replica of pool 'small' is healthy"):
        await walks.promote(release.number)
    assert await walks.state(release.number) is ReleaseState.CANDIDATE
    up.restart()
    await walks.promote(release.number)
    down.restart()
    await reconcile(walks.database, walks.settings, walks.engines)
    assert adapter.name in await down.list_adapters()


async def test_a_changed_adapter_reaches_no_engine(walks: Walks, add_release: AddRelease) -> None:
    """Its digest is computed again before it is loaded."""
    adapter, release = await add_release()
    weights = walks.settings.adapter_dir / adapter.name / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ConflictError, match="safetensors has changed"):
        await walks.promote(release.number)
    assert walks.loads() == 0
    assert await walks.state(release.number) is ReleaseState.CANDIDATE


class _Killed(BaseException):
    """What a crash of the process looks like from inside a test."""


async def test_a_crash_between_the_transactions_is_mended_by_the_next_promotion(
    walks: Walks, add_release: AddRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left is a challenger without traffic; this one or another can be promoted."""

    async def die(*args: object) -> None:
        raise _Killed

    releases = [(await add_release())[1] for _ in range(2)]
    for survivor in releases:
        with monkeypatch.context() as patch:
            patch.setattr(swap, "_flip", die)
            patch.setattr(swap, "_withdraw", die)
            with pytest.raises(_Killed):
                await walks.promote(releases[0].number)
        left = await walks.served()
        assert left.challenger is not None
        assert (left.challenger.number, left.canary_percent) == (releases[0].number, 0)
        await walks.promote(survivor.number)
        after = await walks.served()
        assert (after.champion.number, after.challenger) == (survivor.number, None)
        if survivor is releases[0]:
            await walks.rollback()
    assert await walks.state(releases[0].number) is ReleaseState.CANDIDATE


async def test_fifty_promotions_at_once_have_one_winner_per_champion(
    walks: Walks, add_release: AddRelease
) -> None:
    """Each flip starts from the champion that the one before it made; the rest are told."""
    releases = [(await add_release())[1] for _ in range(5)]

    async def attempt(number: int) -> str:
        try:
            await walks.promote(number)
        except ConflictError:
            return "conflict"
        return "promoted"

    outcomes = await asyncio.gather(*(attempt(releases[n % 5].number) for n in range(50)))
    history = await walks.history()
    assert Counter(outcomes) == {"promoted": len(history), "conflict": 50 - len(history)}
    assert history
    for before, after in itertools.pairwise(history):
        assert after.from_release_id == before.to_release_id
    assert (await walks.served()).champion.id == history[-1].to_release_id
    assert len({promotion.revision for promotion in history}) == len(history)


async def test_a_champion_that_changed_meanwhile_is_not_overwritten(
    walks: Walks, add_release: AddRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compare-and-set: should the lock's connection be lost, the second flip still fails."""
    first, second = [(await add_release())[1] for _ in range(2)]
    flip = swap._flip

    async def flip_after_another(*args: object) -> Promotion:
        monkeypatch.setattr(swap, "_flip", flip)
        monkeypatch.setattr(swap, "_only_walk", lambda *_: _no_lock())
        await walks.promote(first.number)
        return await flip(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(swap, "_flip", flip_after_another)
    with pytest.raises(ConflictError, match="another champion meanwhile"):
        await walks.promote(second.number)
    assert (await walks.served()).champion.number == first.number
    assert len(await walks.history()) == 1


async def test_a_promotion_is_forced_for_a_reason(walks: Walks, add_release: AddRelease) -> None:
    """What no gate has passed is promoted with --force and --reason only."""
    _, release = await add_release()
    for is_forced, reason, words in (
        (False, "because", "no gate has judged it"),
        (True, "", "needs a reason"),
        (True, "  ", "needs a reason"),
    ):
        with pytest.raises(InvalidRequestError, match=words):
            await swap.promote(
                walks.database,
                walks.settings,
                walks.engines,
                id_of(walks.alias),
                release.number,
                actor="console",
                reason=reason,
                is_forced=is_forced,
            )


async def test_what_cannot_be_promoted_is_told(walks: Walks, add_release: AddRelease) -> None:
    """The champion itself, an unknown number, and anything while a canary is under way."""
    _, release = await add_release()
    _, other = await add_release()
    with pytest.raises(ConflictError, match="champion already"):
        await walks.promote(1)
    with pytest.raises(NotFoundError, match="no release 99"):
        await walks.promote(99)
    async with walks.database.session() as session:
        [row] = await list_aliases(session)
        row.challenger_id, row.canary_percent = release.id, 10
    with pytest.raises(ConflictError, match="canary"):
        await walks.promote(other.number)
    await walks.promote(release.number)
    assert (await walks.served()).canary_percent == 0


async def test_a_failed_promotion_of_a_canary_leaves_the_canary(
    walks: Walks, add_release: AddRelease
) -> None:
    """It has earned its share; one replica that lost it does not end it."""
    _, release = await add_release()
    async with walks.database.session() as session:
        [row] = await list_aliases(session)
        row.challenger_id, row.canary_percent = release.id, 10
    walks.engines["small"][0].fail_load = "out of memory"
    with pytest.raises(EngineError):
        await walks.promote(release.number)
    served = await walks.served()
    assert served.challenger is not None
    assert (served.challenger.number, served.canary_percent) == (release.number, 10)


async def test_a_full_pool_takes_no_other_adapter(walks: Walks, add_release: AddRelease) -> None:
    """Champions, challengers and one evaluation within max_loras; replacing one needs no room."""
    pools = tuple(pool.model_copy(update={"max_loras": 2}) for pool in walks.settings.pools)
    tight = walks.settings.model_copy(update={"pools": pools})
    narrow = Walks(walks.database, tight, walks.engines, walks.alias)
    for _ in range(2):
        await narrow.promote((await add_release())[1].number)
    async with walks.database.session() as session:
        other = await create_alias(session, tight, name="other", tenant="acme", task=Task.CHAT)
    adapter, _ = await add_release()
    async with walks.database.session() as session:
        row = await session.get_one(Adapter, adapter.id)
        row.alias_id = id_of(other)
        release = await create_release(session, other, pool="small", adapter_id=row.id)
    with pytest.raises(ConflictError, match="Set max_loras to 3") as caught:
        await Walks(walks.database, tight, walks.engines, other).promote(release.number)
    assert caught.value.code == "pool_full"
    assert (await narrow.served()).challenger is None
    for engine in walks.engines["small"]:
        assert adapter.name not in await engine.list_adapters()


def _worker(*, revision: int) -> GatewayWorker:
    """Return a worker that counts as live, however slow this machine is."""
    seen_at = utc_now() + timedelta(hours=1)
    return GatewayWorker(id="w", host="h", pid=1, revision=revision, seen_at=seen_at)


@asynccontextmanager
async def _no_lock() -> AsyncIterator[None]:
    yield
