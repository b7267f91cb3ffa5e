"""What the triggers decide on, read from the database."""

from datetime import datetime, timedelta

from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from retrain.build import survey
from retrain.periods import period_of
from retrain.triggers import Evidence, Policy
from serving.settings import Settings
from serving.store.learning import (
    ACTIVE,
    DatasetRow,
    Decision,
    EvaluationSet,
    ExampleRow,
    Part,
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
    """Return what is known of an alias as of `now`."""
    window_start = now - timedelta(hours=settings.learning.window_hours)
    ups, downs = await _count_ratings(session, alias, window_start)
    fell_at = await _fell_at(session, alias)
    rows = await survey(session, alias)
    seen = await _rows_seen(session, alias)
    period = period_of(alias.schedule, now, alias.time_zone)
    return Evidence(
        now=now,
        period=period,
        is_period_done=period is None or await _is_period_done(session, alias, period),
        has_active_run=await _has_active_run(session, alias),
        num_up=ups,
        num_down=downs,
        fell_at=fell_at,
        num_examples=len(rows.selection.kept),
        num_new_examples=sum(r.example.content_hash not in seen for r in rows.selection.kept),
        num_fresh_items=await _count_fresh_items(session, alias, fell_at) if fell_at else 0,
        last_run_ended_at=await _last_run_ended_at(session, alias),
    )


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
        .distinct(col(Feedback.id))
        .order_by(col(Feedback.id), col(Feedback.given_at).desc())
        .subquery()
    )
    rows = await session.exec(select(newest.c.rating, func.count()).group_by(newest.c.rating))
    counts = dict(rows.all())
    return counts.get(Rating.UP, 0), counts.get(Rating.DOWN, 0)


async def _fell_at(session: AsyncSession, alias: Alias) -> datetime | None:
    """Return when a look first found that quality had fallen under the present champion."""
    promoted_at = await session.scalar(
        select(func.max(Promotion.at)).where(Promotion.alias_id == alias.id)
    )
    query = select(func.min(Decision.at)).where(
        Decision.alias_id == alias.id, Decision.trigger == Trigger.QUALITY
    )
    if promoted_at is not None:
        query = query.where(col(Decision.at) > promoted_at)
    fell_at: datetime | None = await session.scalar(query)
    return fell_at


async def _rows_seen(session: AsyncSession, alias: Alias) -> set[str]:
    """Return the rows that the newest promoted run was trained on, by content."""
    newest = (
        select(func.max(Run.id))
        .join(Promotion, col(Promotion.to_release_id) == Run.release_id)
        .where(Run.alias_id == alias.id)
        .scalar_subquery()
    )
    rows = await session.exec(
        select(DatasetRow.content_hash)
        .join(Run, col(Run.dataset_id) == DatasetRow.dataset_id)
        .where(col(Run.id) == newest, col(DatasetRow.part).in_([Part.TRAIN, Part.VALID]))
    )
    return set(rows)


async def _is_period_done(session: AsyncSession, alias: Alias, period: str) -> bool:
    """Whether the period needs no run: it has one, the alias is younger, or quality did it.

    The period in which an alias is made counts as done, and so does one in which a run that
    quality asked for was promoted.
    """
    if period_of(alias.schedule, alias.created_at, alias.time_zone) == period:
        return True
    own = select(Run.id).where(Run.alias_id == alias.id, Run.period == period)
    if (await session.exec(own)).first() is not None:
        return True
    promoted = await session.exec(
        select(Run.ended_at).where(
            Run.alias_id == alias.id,
            Run.trigger == Trigger.QUALITY,
            Run.state == RunState.PASSED,
        )
    )
    return any(
        ended is not None and period_of(alias.schedule, ended, alias.time_zone) == period
        for ended in promoted
    )


async def _has_active_run(session: AsyncSession, alias: Alias) -> bool:
    query = select(Run.id).where(Run.alias_id == alias.id, col(Run.state).in_(ACTIVE))
    return (await session.exec(query)).first() is not None


async def _count_fresh_items(session: AsyncSession, alias: Alias, since: datetime) -> int:
    """Count the newest revision's items that are dated after `since`."""
    newest = (
        select(EvaluationSet.id)
        .where(EvaluationSet.alias_id == alias.id)
        .order_by(col(EvaluationSet.number).desc())
        .limit(1)
        .scalar_subquery()
    )
    query = (
        select(func.count())
        .select_from(ExampleRow)
        .where(col(ExampleRow.evaluation_set_id) == newest, col(ExampleRow.at) > since)
    )
    return (await session.exec(query)).one()


async def _last_run_ended_at(session: AsyncSession, alias: Alias) -> datetime | None:
    ended_at: datetime | None = await session.scalar(
        select(func.max(Run.ended_at)).where(
            Run.alias_id == alias.id, Run.state != RunState.CANCELLED
        )
    )
    return ended_at
