"""What the triggers decide on, read from the database."""

from collections.abc import Hashable
from datetime import datetime, timedelta

from sqlalchemy import ScalarSelect
from sqlalchemy.dialects.postgresql import distinct_on
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from retrain.build import survey
from retrain.periods import period_of
from retrain.triggers import Evidence, Policy, Stock
from serving.settings import Settings
from serving.store.aliases import id_of
from serving.store.evaluations import count_fresh_items
from serving.store.learning import (
    DatasetRow,
    Decision,
    EvaluationSet,
    Import,
    Review,
    Run,
    RunState,
    Trigger,
)
from serving.store.tables import Alias, Feedback, Inference, Promotion
from serving.types import Rating


def policy_of(settings: Settings, alias: Alias) -> Policy:
    """Return when this alias is retrained: its own schedule, the configuration's thresholds."""
    learning = settings.learning
    return Policy(
        schedule=alias.schedule,
        zone=alias.time_zone,
        is_paused=alias.is_paused,
        max_down_share=learning.max_down_share,
        min_ratings=learning.min_ratings,
        min_examples=learning.min_examples,
        min_new_examples=learning.min_new_examples,
        min_fresh_items=learning.min_fresh_items,
        cooldown=timedelta(days=learning.cooldown_days),
    )


async def gather_evidence(
    session: AsyncSession, settings: Settings, alias: Alias, now: datetime
) -> Evidence:
    """Return what is known of an alias as of `now`, but for its stock: a few short queries."""
    window_start = now - timedelta(hours=settings.learning.window_hours)
    ups, downs = await _count_ratings(session, alias, window_start)
    period = period_of(alias.schedule, now, alias.time_zone)
    return Evidence(
        now=now,
        period=period,
        period_done=await _period_done(session, alias, period, now) if period else "",
        has_active_run=await _has_active_run(session, alias),
        num_up=ups,
        num_down=downs,
        fell_at=await _fell_at(session, alias),
        last_run_ended_at=await _last_run_ended_at(session, alias),
    )


async def take_stock(
    session: AsyncSession, settings: Settings, alias: Alias, fell_at: datetime | None
) -> Stock:
    """Return what there is to train on, gathered and cleaned as a run would. Takes seconds.

    Args:
        fell_at: when quality fell; None where it did not.
    """
    material = await survey(session, settings, alias)
    seen = await _rows_seen(session, alias)
    fresh = 0
    if material.evaluation_set is not None and fell_at is not None:
        fresh = await count_fresh_items(session, id_of(material.evaluation_set), fell_at)
    rows = material.parts.train
    return Stock(
        num_examples=len(rows),
        num_new_examples=sum(row.example.content_hash not in seen for row in rows),
        num_fresh_items=fresh,
    )


async def fingerprint(session: AsyncSession, alias: Alias, fell_at: datetime | None) -> Hashable:
    """Return what stays the same as long as `take_stock` would count the same. One short query."""
    imports = select(func.max(Import.id)).where(Import.alias_id == alias.id)
    replaced = select(func.max(Import.replaced_at)).where(Import.alias_id == alias.id)
    reviews = select(func.count(), func.max(Review.reviewed_at))
    sets = select(func.max(EvaluationSet.id)).where(EvaluationSet.alias_id == alias.id)
    judged = reviews.where(Review.alias_id == alias.id, col(Review.verdict).is_not(None))
    counted = (await session.exec(judged)).one()
    rest = select(
        imports.scalar_subquery(),
        replaced.scalar_subquery(),
        sets.scalar_subquery(),
        _last_judged_run(alias),
    )
    return (*counted, *(await session.exec(rest)).one(), fell_at)


async def _count_ratings(
    session: AsyncSession, alias: Alias, window_start: datetime
) -> tuple[int, int]:
    """Count thumbs on the champion's answers since `window_start`: a rater's newest each."""
    newest = (
        select(Feedback.rating)
        .join(Inference, col(Inference.id) == Feedback.inference_id)
        .where(
            Inference.alias_id == alias.id,
            Inference.release_id == alias.champion_id,
            col(Inference.begun_at) >= window_start,
            col(Feedback.rating).is_not(None),
        )
        .ext(distinct_on(col(Feedback.id)))
        .order_by(col(Feedback.id), col(Feedback.given_at).desc())
        .subquery()
    )
    rows = await session.exec(select(newest.c.rating, func.count()).group_by(newest.c.rating))
    counts = dict(rows.all())
    return counts.get(Rating.UP, 0), counts.get(Rating.DOWN, 0)


async def _fell_at(session: AsyncSession, alias: Alias) -> datetime | None:
    """Return when a look first found that quality had fallen under the present champion."""
    promoted_at = (
        select(func.max(Promotion.at)).where(Promotion.alias_id == alias.id).scalar_subquery()
    )
    fell_at: datetime | None = await session.scalar(
        select(func.min(Decision.at)).where(
            Decision.alias_id == alias.id,
            Decision.trigger == Trigger.QUALITY,
            col(Decision.at) > func.coalesce(promoted_at, alias.created_at),
        )
    )
    return fell_at


async def _rows_seen(session: AsyncSession, alias: Alias) -> set[str]:
    """Return the rows of the newest run that came to a verdict: they were tried already."""
    rows = await session.exec(
        select(DatasetRow.content_hash)
        .join(Run, col(Run.dataset_id) == DatasetRow.dataset_id)
        .where(col(Run.id) == _last_judged_run(alias))
    )
    return set(rows)


def _last_judged_run(alias: Alias) -> ScalarSelect[int | None]:
    judged = (RunState.PASSED, RunState.REJECTED)
    newest = select(func.max(Run.id)).where(Run.alias_id == alias.id, col(Run.state).in_(judged))
    return newest.scalar_subquery()


async def _period_done(session: AsyncSession, alias: Alias, period: str, now: datetime) -> str:
    """Say why the period needs no run; empty: it needs one.

    The period in which an alias is made counts as done, and so does one in which a run that
    quality asked for was promoted. A run of its own counts however it ended.
    """
    made_in = period_of(alias.schedule, alias.created_at, alias.time_zone)
    if made_in == period or alias.created_at > now:
        return "the alias was made in it"
    own = await session.exec(select(Run).where(Run.alias_id == alias.id, Run.period == period))
    run = own.first()
    if run is not None:
        again = "" if run.state is RunState.PASSED else ", and is not repeated before the next one"
        return f"run {run.id} {_ended_as(run)}{again}"
    promoted = await session.exec(
        select(Run.id, Promotion.at)
        .join(Promotion, col(Promotion.to_release_id) == Run.release_id)
        .where(
            Run.alias_id == alias.id,
            Run.trigger == Trigger.QUALITY,
            ~col(Promotion.is_rollback),
        )
        .order_by(col(Promotion.at).desc())
        .limit(1)
    )
    for run_id, at in promoted:
        if period_of(alias.schedule, at, alias.time_zone) == period:
            return f"run {run_id}, which quality asked for, was promoted in it"
    return ""


def _ended_as(run: Run) -> str:
    verbs = {RunState.PASSED: "passed", RunState.FAILED: "failed"}
    return verbs.get(run.state, f"was {run.state}")


async def _has_active_run(session: AsyncSession, alias: Alias) -> bool:
    query = select(Run.id).where(Run.alias_id == alias.id, col(Run.ended_at).is_(None))
    return (await session.exec(query)).first() is not None


async def _last_run_ended_at(session: AsyncSession, alias: Alias) -> datetime | None:
    ended_at: datetime | None = await session.scalar(
        select(func.max(Run.ended_at)).where(
            Run.alias_id == alias.id, Run.state != RunState.CANCELLED
        )
    )
    return ended_at
