"""Score a release on an evaluation set, through the engines that would serve it."""

from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta

from retrain.ask import EngineAsker, ask_all
from retrain.collect import items_of
from retrain.scores import score_item, summarise
from retrain.shop import Shop
from serving.errors import UnavailableError
from serving.fleet.holding import hold_everywhere
from serving.store.evaluations import find_evaluation, save_evaluation
from serving.store.learning import Evaluation, EvaluationSet
from serving.store.tables import Adapter, Alias, Release, utc_now

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
    """Return what a release scores on a revision; asked once, and kept.

    Every item is answered by the release's own adapter under the release's own system prompt,
    greedily. Nothing is kept unless all items were answered.

    Raises:
        UnavailableError: no replica of the release's pool is healthy.
        EngineError: an item was not answered, or the adapter cannot be loaded.
    """
    assert evaluation_set.id is not None
    assert release.id is not None
    async with shop.database.session() as session:
        known = await find_evaluation(session, evaluation_set.id, release.id)
        items = await items_of(session, evaluation_set)
        adapter = await session.get(Adapter, release.adapter_id) if release.adapter_id else None
    if known is not None and utc_now() - known.at < REUSED_FOR:
        return known
    model, askers = await _ready(shop, release, adapter)
    answers = await ask_all(askers, model, items, release.system_prompt, on_answer)
    expected = [item.answer_text for item in items]
    scored = [score_item(alias.task, *pair) for pair in zip(expected, answers, strict=True)]
    async with shop.database.session() as session:
        return await save_evaluation(
            session,
            set_id=evaluation_set.id,
            release_id=release.id,
            run_id=run_id,
            summary=asdict(summarise(alias.task, expected, answers, scored)),
            scores=[item.score for item in scored],
        )


async def _ready(
    shop: Shop, release: Release, adapter: Adapter | None
) -> tuple[str, list[EngineAsker]]:
    """Return the name under which the engines answer for a release, and those that do."""
    pool = shop.settings.pool(release.pool)
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
    askers = [EngineAsker(shop.client, engine.url) for engine in healthy]
    return (adapter.name if adapter else pool.served_name), askers
