"""The look at every alias: what it decides, keeps, and begins."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from retrain import learn
from retrain.learn import look_at_aliases
from retrain.shop import Shop
from serving.store.aliases import create_alias
from serving.store.learning import Action, Run, RunState, Split, Trigger
from serving.store.runs import create_run, end_run
from serving.store.tables import Alias, utc_now
from serving.types import Task
from tests.learning import FIRST_HELD_OUT, World, tickets, with_thresholds
from tests.scale import examples

FRESH = 20_000


async def set_alias(world: World, **fields: Any) -> None:
    """Change the alias's row."""
    async with world.database.session() as session:
        alias = await session.get_one(Alias, world.alias.id)
        for name, value in fields.items():
            setattr(alias, name, value)


async def newest(world: World) -> tuple[Action, Trigger | None, str]:
    """Return the newest decision."""
    decision = (await world.decisions())[-1]
    return decision.action, decision.trigger, decision.last_reason


async def test_thumbs_down_bring_about_a_better_release(world: World) -> None:
    """Few ratings: nothing. A fall: waits for fresh items. They come: trained, judged, swapped."""
    await world.import_all()
    await world.rate(30, 50)
    await look_at_aliases(world.shop)
    assert "80 ratings, 100 are needed" in (await newest(world))[2]
    await world.rate(0, 30)
    await look_at_aliases(world.shop)
    action, trigger, reason = await newest(world)
    assert (action, trigger) == (Action.WAIT, Trigger.QUALITY)
    assert "300 more items dated after the fall" in reason
    await world.import_rows(tickets(FRESH, 500), Split.EVAL)
    await look_at_aliases(world.shop)
    assert (await newest(world))[:2] == (Action.TRAIN, Trigger.QUALITY)
    (run,) = await world.runs()
    assert run.fell_at == (await world.decisions())[1].at
    run = await world.advance_to(run, RunState.PASSED)
    assert run.verdict is not None
    assert (run.verdict["num_fresh_items"], await world.champion()) == (500, 2)
    await look_at_aliases(world.shop)
    action, _, reason = await newest(world)
    assert (action, "0 ratings" in reason) == (Action.NOTHING, True)


async def test_a_rejected_run_is_not_tried_again_on_the_same_rows(world: World) -> None:
    """First the cooldown; after it new examples have to come."""
    await set_alias(world, schedule="off")  # a quarter may begin meanwhile
    await world.import_all()
    await world.rate(0, 100)
    await look_at_aliases(world.shop)
    await world.import_rows(tickets(FRESH, 500), Split.EVAL)
    await look_at_aliases(world.shop)
    (run,) = await world.runs()
    world.next_skill = 0.1
    await world.advance_to(run, RunState.REJECTED)
    await look_at_aliases(world.shop)
    assert "waiting for the cooldown until" in (await newest(world))[2]
    later = utc_now() + timedelta(days=6, hours=23)
    await look_at_aliases(world.shop, later)
    await look_at_aliases(world.shop, later + timedelta(hours=2))
    assert (await newest(world))[2].endswith("; waiting for 20 new examples.")
    await world.import_rows(tickets(30_000, 30), Split.TRAIN)
    await look_at_aliases(world.shop, later + timedelta(hours=2))
    assert len(await world.runs()) == 2


async def test_a_decision_is_kept_once(world: World) -> None:
    """As it was made; other numbers stand beside it, another sentence is another decision."""
    await look_at_aliases(world.shop)
    await world.rate(3, 1)
    await look_at_aliases(world.shop)
    (decision,) = await world.decisions()
    assert ("0 ratings" in decision.reason, decision.evidence["num_up"]) == (True, 0)
    assert ("4 ratings" in decision.last_reason, decision.last_evidence["num_up"]) == (True, 3)
    assert decision.at < decision.last_at
    await set_alias(world, is_paused=True)
    await look_at_aliases(world.shop)
    assert [one.reason for one in await world.decisions()][1:] == ["Learning is paused."]


async def test_stock_is_taken_only_when_due_and_only_when_something_came_in(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look at a calm alias reads no rows; a waiting one reads them again after an import."""
    taken = 0
    real = learn.take_stock

    async def count(*args: Any) -> Any:
        nonlocal taken
        taken += 1
        return await real(*args)

    monkeypatch.setattr(learn, "take_stock", count)
    await look_at_aliases(world.shop)
    assert taken == 0
    later = utc_now() + timedelta(days=100)
    for _ in range(3):
        await look_at_aliases(world.shop, later)
    assert taken == 1
    await world.import_rows(tickets(0, 5), Split.TRAIN)
    await look_at_aliases(world.shop, later)
    assert taken == 2
    assert "100 more training rows (it has 0)" in (await newest(world))[2]


async def test_an_alias_that_cannot_be_looked_at_keeps_no_other_from_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A schedule that somebody wrote into the database by hand; a failure that nobody foresaw."""
    await set_alias(world, schedule="now and then")
    async with world.database.session() as session:
        for name in ("yak", "zebra"):
            await create_alias(
                session, world.settings, name=name, tenant="acme", task=Task.CLASSIFY
            )
    real = learn.gather_evidence

    async def gather(session: Any, settings: Any, alias: Alias, now: datetime) -> Any:
        if alias.name == "yak":
            raise ZeroDivisionError
        return await real(session, settings, alias, now)

    monkeypatch.setattr(learn, "gather_evidence", gather)
    await look_at_aliases(world.shop)
    assert len(await world.decisions()) == 1


async def test_of_many_that_want_a_run_one_gets_it(world: World) -> None:
    """Concurrent sessions: one run; and never a second one for a period."""

    async def want(period: str | None) -> Run | None:
        async with world.database.session() as session:
            return await create_run(
                session,
                world.alias.id or 0,
                trigger=Trigger.PERIOD,
                reason="a test",
                actor="worker",
                period=period,
            )

    made = await asyncio.gather(*(want("2026Q4") for _ in range(8)))
    (run,) = [one for one in made if one is not None]
    async with world.database.session() as session:
        end_run(await session.get_one(Run, run.id), RunState.REJECTED)
    assert await want("2026Q4") is None
    assert await want("2027Q1") is not None


async def test_a_period_run_that_was_rejected_is_not_repeated(world: World) -> None:
    """And the decision says so."""
    await world.import_all()
    later = utc_now() + timedelta(days=92)
    await look_at_aliases(world.shop, later)
    (run,) = await world.runs()
    world.next_skill = 0.1
    await world.advance_to(run, RunState.REJECTED)
    await look_at_aliases(world.shop, later)
    assert len(await world.runs()) == 1
    assert f"run {run.id} was rejected, and is not repeated" in (await newest(world))[2]


async def test_a_promoted_quality_run_counts_for_its_period(world: World) -> None:
    """Created last quarter, so this one is due; then quality's run is promoted: it is done."""
    await world.import_all()
    await set_alias(world, created_at=utc_now() - timedelta(days=120))
    run = await world.queue(Trigger.QUALITY)
    await world.advance_to(run, RunState.PASSED)
    await look_at_aliases(world.shop)
    assert len(await world.runs()) == 1
    assert "which quality asked for, was promoted in it" in (await newest(world))[2]


@settings(
    max_examples=examples(2, full=20),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(gaps=st.lists(st.integers(1, 180), min_size=80, max_size=80))
async def test_twenty_years_of_quarters(world: World, gaps: list[int]) -> None:
    """However long the process is down: a quarter in which it looks gets one run, and only one."""
    await _forget_runs(world)
    start = datetime(2026, 11, 22, tzinfo=UTC)
    await set_alias(world, created_at=start)
    now, quarters = start, set()
    shop = _rich(world.shop, world)
    for days in gaps:
        now += timedelta(days=days)
        if now.year >= 2046:
            break
        quarters.add(f"{now.year}Q{(now.month + 2) // 3}")
        for _ in range(2):
            await look_at_aliases(shop, now)
        await _end_all(world, now)
    periods = [run.period for run in await world.runs()]
    assert sorted(periods, key=str) == sorted(quarters - {"2026Q4"})


def _rich(shop: Shop, world: World) -> Shop:
    """Return the shop with thresholds that no stock is too small for."""
    return replace(shop, settings=with_thresholds(world.settings, min_examples=1))


async def _end_all(world: World, now: datetime) -> None:
    async with world.database.session() as session:
        connection = await session.connection()
        await connection.execute(
            text("UPDATE strop_run SET state = 'failed', ended_at = :now WHERE ended_at IS NULL"),
            {"now": now},
        )


async def _forget_runs(world: World) -> None:
    async with world.database.session() as session:
        connection = await session.connection()
        for table in ("strop_decision", "strop_run"):
            await connection.execute(text(f"DELETE FROM {table}"))  # noqa: S608 - our own names
    if not (await world.import_rows(tickets(0, 5), Split.TRAIN)).evaluation_set:
        await world.import_rows(tickets(FIRST_HELD_OUT, 500), Split.EVAL)
