"""Evaluating a release: what it holds is not unloaded, and how far it is can be seen."""

import asyncio
from pathlib import Path
from typing import Any

import httpx

from retrain.evaluate import evaluate_release
from retrain.learn import advance_runs
from serving.fleet.adapters import import_adapter
from serving.fleet.reconcile import reconcile
from serving.store.evaluations import get_set
from serving.store.learning import RunState, Split
from serving.store.tables import Adapter, Alias, Release
from tests.adapters import make_adapter
from tests.learning import World, tickets


async def add_candidate(world: World, tiny_base: Path, folder: Path) -> tuple[Adapter, Release]:
    """Import an adapter that nobody promotes."""
    make_adapter(folder, tiny_base, seed=1)
    async with world.database.session() as session:
        alias = await session.get_one(Alias, world.alias.id)
        return await import_adapter(session, world.settings, alias, folder, "a test")


async def test_an_adapter_under_evaluation_is_not_unloaded(
    world: World, tiny_base: Path, tmp_path: Path
) -> None:
    """Nobody wants a mere candidate; while it answers an evaluation set, the reconciler waits."""
    adapter, release = await add_candidate(world, tiny_base, tmp_path / "adapter")
    await world.import_rows(tickets(0, 3), Split.EVAL)
    async with world.database.session() as session:
        questions = await get_set(session, 1)
    is_asked, may_answer = asyncio.Event(), asyncio.Event()

    async def answer_later(_: dict[str, Any]) -> httpx.Response:
        is_asked.set()
        await may_answer.wait()
        return httpx.Response(200, json={"choices": [{"message": {"content": "billing"}}]})

    world.answer = answer_later
    evaluating = asyncio.create_task(evaluate_release(world.shop, world.alias, questions, release))
    async with asyncio.timeout(60):
        await is_asked.wait()
        await reconcile(world.database, world.settings, world.shop.engines)
        assert adapter.name in await world.engine.list_adapters()
        may_answer.set()
        assert (await evaluating).summary["num_items"] == 3
    await reconcile(world.database, world.settings, world.shop.engines)
    assert await world.engine.list_adapters() == {}


async def test_an_item_whose_answer_is_long_is_asked_within_the_context(world: World) -> None:
    """vLLM refuses `max_tokens` above its context, and answers what fits: no item is lost to us."""
    world.engine.num_context_tokens = 64
    await world.import_rows(tickets(0, 2) + tickets(2, 1, output="x" * 60), Split.EVAL)

    def answer_as_vllm(body: dict[str, Any]) -> httpx.Response:
        if body["max_tokens"] > world.engine.num_context_tokens:
            return httpx.Response(400, json={"error": {"message": "max_tokens is too large"}})
        return httpx.Response(200, json={"choices": [{"message": {"content": "x" * 60}}]})

    world.answer = answer_as_vllm
    async with world.database.session() as session:
        questions, base = await get_set(session, 1), (await world.releases())[0]
    found = await evaluate_release(world.shop, world.alias, questions, base)
    assert (found.summary["num_refused"], found.scores) == (0, [0.0, 0.0, 1.0])


async def test_a_run_tells_how_many_items_are_answered(world: World) -> None:
    """While base, champion or candidate answers, the run's row has the count."""
    await world.import_all()
    run = await world.advance_to(await world.queue(), RunState.EVALUATING)
    may_answer = asyncio.Event()

    async def answer_three(_: dict[str, Any]) -> httpx.Response:
        if world.num_asked > 3:
            await may_answer.wait()
        return httpx.Response(200, json={"choices": [{"message": {"content": "billing"}}]})

    world.answer = answer_three
    evaluating = asyncio.create_task(advance_runs(world.shop))
    async with asyncio.timeout(60):
        while (await world.run(run.id)).progress.get("answered") != 3:  # noqa: ASYNC110 - a row
            await asyncio.sleep(0.01)
        told = (await world.run(run.id)).progress
        may_answer.set()
        await evaluating
    assert told.items() >= {"evaluating": "base", "answered": 3, "num_items": 500}.items()
    assert told["step"] == 9, "the training's figures stay"
