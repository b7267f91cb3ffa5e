"""A candidate before the gate: who is asked, what counts, and engines that do not answer well."""

from typing import Any

import httpx
from sqlmodel import select

from retrain.learn import advance_runs
from serving.fleet import swap
from serving.store.learning import Evaluation, RunState, Trigger
from serving.store.runs import cancel_run
from tests.learning import World


async def test_a_new_champion_meanwhile_means_a_new_judgement(world: World) -> None:
    """The candidate is held against who serves at the end, not at the beginning."""
    await world.import_all()
    first = await world.advance_to(await world.queue(), RunState.PASSED)
    second = await world.queue(Trigger.PERIOD, period="2026Q4")
    second = await world.advance_to(second, RunState.EVALUATING)
    await advance_runs(world.shop)
    await swap.promote(
        world.database,
        world.settings,
        world.shop.engines,
        world.alias.id or 0,
        2,
        actor="console",
        reason="",
        is_forced=False,
    )
    second = await world.advance_to(second, RunState.REJECTED)
    assert second.verdict is not None
    assert second.verdict["evaluations"]["champion"]["release"] == 2
    assert (await world.champion(), second.champion_id) == (2, first.release_id)


async def test_a_quality_run_is_judged_on_fresh_items(world: World) -> None:
    """Better, but on items from before the fall: rejected, and the verdict says so."""
    await world.import_all()
    fell_at = (await world.queue()).created_at
    (first,) = await world.runs()
    async with world.database.session() as session:
        await cancel_run(session, first.id or 0)
    await advance_runs(world.shop)
    run = await world.queue(Trigger.QUALITY, fell_at=fell_at)
    run = await world.advance_to(run, RunState.REJECTED)
    assert run.verdict is not None
    assert run.verdict["num_fresh_items"] == 0
    assert (
        "0 evaluation items are dated after quality fell; 300 are needed" in (run.verdict["reason"])
    )


async def test_items_that_an_engine_refuses_are_wrong_answers(world: World) -> None:
    """One too long for the model is counted and wrong; if it takes none, the run fails."""
    await world.import_all()

    def refuse_some(body: dict[str, Any]) -> httpx.Response:
        if body["messages"][-1]["content"].endswith("0"):
            return httpx.Response(400, json={"error": {"message": "too long"}})
        return world._answer_from_table(body)

    world.answer = refuse_some
    run = await world.advance_to(await world.queue(), RunState.PASSED)
    assert run.verdict is not None
    assert run.verdict["evaluations"]["candidate"]["num_refused"] == 50

    world.answer = lambda body: httpx.Response(400, json={"error": {"message": "no template"}})
    run = await world.advance_to(await world.queue(), RunState.FAILED)
    assert "no template" in (run.error or "")


async def test_an_engine_that_talks_nonsense_is_waited_for(world: World) -> None:
    """An answer without an answer in it, and a 500: not a result, and not a crash."""
    await world.import_all()
    run = await world.advance_to(await world.queue(), RunState.EVALUATING)
    for reply in (httpx.Response(200, text="<html>"), httpx.Response(500)):
        world.answer = lambda body, reply=reply: reply
        world.shop.patience.clear()
        await advance_runs(world.shop)
        run = await world.run(run.id)
        assert (run.state, bool(run.error)) == (RunState.EVALUATING, True)
    async with world.database.session() as session:
        assert (await session.exec(select(Evaluation))).all() == []
