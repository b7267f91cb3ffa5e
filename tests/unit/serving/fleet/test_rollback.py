"""Rollback: the champion before takes over, with nothing to load."""

import asyncio

import pytest

from serving.errors import ConflictError, EngineError
from serving.types import ReleaseState
from tests.walks import AddRelease, Walks


async def test_a_rollback_needs_no_load_and_can_be_undone(
    walks: Walks, add_release: AddRelease
) -> None:
    """The previous champion is still loaded; a second rollback takes back the first."""
    numbers = [(await add_release())[1].number for _ in range(2)]
    for number in numbers:
        await walks.promote(number)
    loads = walks.loads()
    back = await walks.rollback()
    assert (await walks.served()).champion.number == numbers[0]
    assert await walks.state(numbers[1]) is ReleaseState.ROLLED_BACK
    assert (back.is_rollback, back.is_forced) == (True, False)
    await walks.rollback()
    assert (await walks.served()).champion.number == numbers[1]
    assert await walks.state(numbers[0]) is ReleaseState.ROLLED_BACK
    assert await walks.state(numbers[1]) is ReleaseState.CHAMPION
    assert walks.loads() == loads


async def test_a_rollback_needs_one_replica_that_holds_it(
    walks: Walks, add_release: AddRelease
) -> None:
    """It is loaded where it was lost; refused by every healthy replica, nothing changes."""
    adapter, release = await add_release()
    await walks.promote(release.number)
    await walks.promote((await add_release())[1].number)
    first, second = walks.engines["small"]
    first.restart()
    first.fail_load = "out of memory"
    second.restart()
    await walks.rollback()
    assert adapter.name in await second.list_adapters()
    assert (await walks.served()).champion.adapter == adapter.name
    second.fail_load = "out of memory"
    with pytest.raises(EngineError, match="out of memory"):
        await walks.rollback()
    assert (await walks.served()).champion.adapter == adapter.name
    for engine in (first, second):
        engine.is_down = True
    await walks.rollback()
    assert (await walks.served()).champion.adapter != adapter.name


async def test_a_replica_that_hangs_or_fails_delays_no_rollback(
    walks: Walks, add_release: AddRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that never answers is not waited for, and one whose list is an error is passed over."""
    adapter, release = await add_release()
    await walks.promote(release.number)
    await walks.promote((await add_release())[1].number)
    first, _ = walks.engines["small"]

    async def hang() -> None:
        await asyncio.Event().wait()

    async def fail() -> None:
        raise EngineError("The engine is odd.")

    for answer in (hang, fail):
        monkeypatch.setattr(first, "list_adapters", answer)
        async with asyncio.timeout(30):
            await walks.rollback()
    assert (await walks.served()).champion.adapter != adapter.name


async def test_there_is_nothing_before_the_first(walks: Walks) -> None:
    """A rollback of an alias that was never promoted says so."""
    with pytest.raises(ConflictError, match="never promoted"):
        await walks.rollback()
