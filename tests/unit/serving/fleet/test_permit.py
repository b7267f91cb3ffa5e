"""Without force only a release that its gate passed against the present champion is promoted."""

from collections.abc import Awaitable, Callable

import pytest

from serving.errors import InvalidRequestError
from serving.fleet import swap
from serving.fleet.memory import MemoryEngine
from serving.settings import Settings
from serving.store.aliases import id_of
from serving.store.database import Database
from serving.store.learning import Run, RunState, Trigger
from serving.store.tables import Adapter, Alias, Promotion, Release, utc_now

Engines = dict[str, tuple[MemoryEngine, ...]]
AddRelease = Callable[[], Awaitable[tuple[Adapter, Release]]]
Promote = Callable[[Release], Awaitable[Promotion]]


@pytest.fixture
def promote(database: Database, settings: Settings, engines: Engines, alias: Alias) -> Promote:
    """Promote a release of `support` without force."""

    async def promote(release: Release) -> Promotion:
        return await swap.promote(
            database,
            settings,
            engines,
            id_of(alias),
            release.number,
            actor="console",
            reason="",
            is_forced=False,
        )

    return promote


async def add_run(
    database: Database, alias: Alias, release: Release, state: RunState, champion_id: int | None
) -> None:
    """Have a run make a release."""
    async with database.session() as session:
        session.add(
            Run(
                alias_id=id_of(alias),
                trigger=Trigger.MANUAL,
                reason="a test",
                actor="console",
                state=state,
                release_id=release.id,
                champion_id=champion_id,
                ended_at=None if state is RunState.EVALUATING else utc_now(),
                verdict={"reason": "better on 80 items and worse on 20 of 500"},
            )
        )


async def test_what_passed_against_the_champion_is_promoted(
    database: Database, alias: Alias, add_release: AddRelease, promote: Promote
) -> None:
    """No force, no reason: the gate is reason enough."""
    _, release = await add_release()
    await add_run(database, alias, release, RunState.PASSED, alias.champion_id)
    promotion = await promote(release)
    assert (promotion.is_forced, promotion.reason) == (False, "The gate passed it.")


async def test_what_passed_against_a_former_champion_is_refused(
    database: Database, alias: Alias, add_release: AddRelease, promote: Promote
) -> None:
    """A verdict says nothing of a champion that it did not know; both are named."""
    _, first = await add_release()
    _, second = await add_release()
    for release in (first, second):
        await add_run(database, alias, release, RunState.PASSED, alias.champion_id)
    await promote(first)
    with pytest.raises(InvalidRequestError, match=r"against release 1.*release 2 serves now"):
        await promote(second)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (RunState.REJECTED, "rejected: better on 80 items and worse on 20 of 500"),
        (RunState.FAILED, "failed"),
        (RunState.CANCELLED, "cancelled"),
        (RunState.EVALUATING, "still evaluating"),
    ],
)
async def test_what_did_not_pass_is_refused_with_its_numbers(
    database: Database,
    alias: Alias,
    add_release: AddRelease,
    promote: Promote,
    state: RunState,
    words: str,
) -> None:
    """The alias serves what it served, and the release is a candidate still."""
    _, release = await add_release()
    await add_run(database, alias, release, state, alias.champion_id)
    with pytest.raises(InvalidRequestError, match=words) as refused:
        await promote(release)
    assert refused.value.code == "gate_not_passed"
    async with database.session() as session:
        now = await session.get_one(Alias, alias.id)
        assert (now.champion_id, now.challenger_id) == (alias.champion_id, None)
