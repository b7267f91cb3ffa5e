"""A candidate before the gate: base, champion and candidate answer the same questions."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from retrain.evaluate import evaluate_release, known_evaluation
from retrain.gate import Freshness, decide
from retrain.shop import Shop
from serving.store.aliases import id_of
from serving.store.database import reason_of
from serving.store.evaluations import count_fresh_items, get_set
from serving.store.learning import Dataset, Evaluation, EvaluationSet, Run
from serving.store.releases import get_release
from serving.store.runs import lock_run
from serving.store.tables import Alias, Release

log = logging.getLogger("strop.retrain")

_TELL_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What the gate found."""

    is_passed: bool
    champion_id: int
    """The release that the candidate was held against."""
    verdict: dict[str, Any]
    """The gate's, with what each release scored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Contest:
    """Who is asked what."""

    alias: Alias
    evaluation_set: EvaluationSet
    releases: dict[str, Release]
    """By what they are here: base, champion, candidate."""
    freshness: Freshness | None


async def judge_run(shop: Shop, run: Run) -> Judged | None:
    """Have the next release answer that has not; None, until all have. Then judge.

    The questions are those of the run's dataset: the newest evaluation set that could carry a gate
    when it was frozen. A later one may hold what the candidate was trained on.

    Raises:
        UnavailableError: no engine answers; what was answered whole is kept.
        InvalidRequestError: the engines refuse every item.
    """
    contest = await _contest_of(shop, run)
    found: dict[str, Evaluation] = {}
    for name, release in contest.releases.items():
        known = await known_evaluation(shop, contest.evaluation_set, release)
        if known is None:
            async with _telling(shop, run, name, contest.evaluation_set.num_items) as count:
                await evaluate_release(
                    shop,
                    contest.alias,
                    contest.evaluation_set,
                    release,
                    run_id=run.id,
                    on_answer=count,
                )
            return None
        found[name] = known
    return _sum_up(contest, found)


@asynccontextmanager
async def _telling(
    shop: Shop, run: Run, name: str, num_items: int
) -> AsyncGenerator[Callable[[], None]]:
    """Yield what counts an answer; once a second the count goes into the run's row."""
    num_answered = 0

    def count() -> None:
        nonlocal num_answered
        num_answered += 1

    async def tell() -> None:
        while True:
            counted = {"evaluating": name, "answered": num_answered, "num_items": num_items}
            async with shop.database.session() as session:
                locked = await lock_run(session, id_of(run))
                locked.progress = locked.progress | counted  # the training's figures stay
            await asyncio.sleep(_TELL_SECONDS)

    telling = asyncio.create_task(tell())
    try:
        yield count
    finally:
        telling.cancel()
        (outcome,) = await asyncio.gather(telling, return_exceptions=True)
        if isinstance(outcome, Exception):
            why = reason_of(outcome) if isinstance(outcome, DBAPIError) else repr(outcome)
            log.warning("run %s cannot tell how far it is: %s", run.id, why)


def _sum_up(contest: _Contest, found: dict[str, Evaluation]) -> Judged:
    verdict = decide(found["champion"].scores, found["candidate"].scores, contest.freshness)
    scored = {
        name: {"release": contest.releases[name].number, **evaluation.summary}
        for name, evaluation in found.items()
    }
    return Judged(
        is_passed=verdict.is_passed,
        champion_id=id_of(contest.releases["champion"]),
        verdict={
            **asdict(verdict),
            "evaluation_set": contest.evaluation_set.number,
            "evaluations": scored,
        },
    )


async def _contest_of(shop: Shop, run: Run) -> _Contest:
    async with shop.database.session() as session:
        alias = await session.get_one(Alias, run.alias_id)
        dataset = await session.get_one(Dataset, run.dataset_id)
        assert alias.champion_id is not None
        assert dataset.evaluation_set_id is not None
        assert run.release_id is not None
        candidate = await get_release(session, run.release_id)
        base = await _base_of(session, candidate)
        champion = await get_release(session, alias.champion_id)
        return _Contest(
            alias=alias,
            evaluation_set=await get_set(session, dataset.evaluation_set_id),
            releases={
                **({"base": base} if base else {}),
                "champion": champion,
                "candidate": candidate,
            },
            freshness=await _freshness(session, shop, run, dataset.evaluation_set_id),
        )


async def _base_of(session: AsyncSession, candidate: Release) -> Release | None:
    """Return the alias's newest release that is the candidate's base model as it is, if any."""
    query = select(Release).where(
        Release.alias_id == candidate.alias_id,
        Release.pool == candidate.pool,
        col(Release.adapter_id).is_(None),
    )
    return (await session.exec(query.order_by(col(Release.number).desc()).limit(1))).first()


async def _freshness(session: AsyncSession, shop: Shop, run: Run, set_id: int) -> Freshness | None:
    if run.fell_at is None:
        return None
    return Freshness(
        num_items=await count_fresh_items(session, set_id, run.fell_at),
        num_needed=shop.settings.learning.min_fresh_items,
    )
