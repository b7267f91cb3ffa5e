"""Score a release on an evaluation set, through the engines that would serve it."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from retrain.ask import EngineAsker, ask_all
from retrain.collect import items_of
from retrain.examples import Example
from retrain.scores import ItemScore, score_item, summarise
from retrain.shop import Shop
from serving.errors import InvalidRequestError, UnavailableError
from serving.fleet.holding import evaluation_lock, hold_everywhere
from serving.store.aliases import id_of
from serving.store.evaluations import find_evaluation, save_evaluation
from serving.store.learning import Evaluation, EvaluationSet
from serving.store.tables import Adapter, Alias, Release, utc_now
from serving.types import PoolKind, Task

REUSED_FOR = timedelta(days=7)


async def evaluate_release(
    shop: Shop,
    alias: Alias,
    evaluation_set: EvaluationSet,
    release: Release,
    *,
    run_id: int | None = None,
    on_answer: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Return what a release scores on a revision: as of the last week, or asked now and kept.

    Every item is answered by the release's own adapter under the release's own system prompt,
    greedily. Nothing is kept unless all items were answered or refused.

    Raises:
        UnavailableError: no replica of the release's pool is healthy.
        EngineError: an item was not answered, or the adapter cannot be loaded.
        InvalidRequestError: the pool's engines cannot be asked, or refuse every item.
    """
    known = await known_evaluation(shop, evaluation_set, release)
    if known is not None:
        return known
    async with shop.database.session() as session:
        items = await items_of(session, evaluation_set)
        adapter = await session.get(Adapter, release.adapter_id) if release.adapter_id else None
    async with _kept_loaded(shop, adapter, run_id):
        model, askers = await _ready(shop, release, adapter)
        answers = await ask_all(askers, model, items, release.system_prompt, on_answer)
    scored, summary = await asyncio.to_thread(_score, alias.task, items, answers)
    async with shop.database.session() as session:
        return await save_evaluation(
            session,
            set_id=id_of(evaluation_set),
            release_id=id_of(release),
            run_id=run_id,
            summary=summary,
            scores=[float(item.is_right) for item in scored],
        )


async def known_evaluation(
    shop: Shop, evaluation_set: EvaluationSet, release: Release
) -> Evaluation | None:
    """Return what the release scored on the revision in the last week; None: ask it."""
    async with shop.database.session() as session:
        known = await find_evaluation(session, id_of(evaluation_set), id_of(release))
    return known if known is not None and utc_now() - known.at < REUSED_FOR else None


@asynccontextmanager
async def _kept_loaded(
    shop: Shop, adapter: Adapter | None, run_id: int | None
) -> AsyncGenerator[None]:
    """Keep the reconciler from unloading what nobody else wants, a mere candidate, meanwhile."""
    if adapter is None or run_id is not None:  # what a run evaluates is wanted until it ends
        yield
    else:
        async with shop.database.share(evaluation_lock(adapter)):
            yield


async def _ready(
    shop: Shop, release: Release, adapter: Adapter | None
) -> tuple[str, list[EngineAsker]]:
    """Return the name under which the engines answer for a release, and those that do."""
    pool = shop.settings.pool(release.pool)
    if pool.kind is not PoolKind.VLLM:
        raise InvalidRequestError(
            f"Release {release.number} is served from pool {pool.name!r} of kind `{pool.kind}`, "
            "which cannot be evaluated. Evaluate a release on a pool of kind `vllm`."
        )
    engines = shop.engines[release.pool]
    if adapter is not None:
        await hold_everywhere(shop.settings, pool, engines, adapter)
    healthy = [engine for engine in engines if await engine.is_healthy()]
    if not healthy:
        raise UnavailableError(
            f"No replica of pool {pool.name!r} is healthy, so nothing can be evaluated there. "
            "`strop status` shows them; try again when one is.",
            retry_after=10,
        )
    askers = [
        EngineAsker(shop.client, engine.url, await engine.context_tokens()) for engine in healthy
    ]
    return (adapter.name if adapter else pool.served_name), askers


def _score(
    task: Task, items: Sequence[Example], answers: Sequence[str | None]
) -> tuple[list[ItemScore], dict[str, Any]]:
    """Score each item and sum up; an item that the engine refused was answered with nothing."""
    expected = [item.answer_text for item in items]
    said = [answer or "" for answer in answers]
    scored = [score_item(task, *pair) for pair in zip(expected, said, strict=True)]
    summary = asdict(summarise(task, expected, said, scored))
    return scored, {**summary, "num_refused": answers.count(None)}
