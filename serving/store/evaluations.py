"""Evaluation sets and what releases scored on them."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.dialects.postgresql import distinct_on
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from serving.errors import NotFoundError
from serving.store.database import wait_lock
from serving.store.learning import Evaluation, EvaluationSet, ExampleRow
from serving.store.paging import WHOLE, Page, newest_first
from serving.store.tables import Alias


async def lock_material(session: AsyncSession, alias_id: int) -> None:
    """Until the transaction ends, nobody else imports rows for the alias or freezes a dataset.

    Not the alias's own row: a promotion need not wait for a build.
    """
    await wait_lock(session, f"material/{alias_id}")


async def newest_set(
    session: AsyncSession, alias_id: int, min_items: int = 0
) -> EvaluationSet | None:
    """Return the newest revision of at least that many items; None where the alias has none."""
    query = (
        select(EvaluationSet)
        .where(EvaluationSet.alias_id == alias_id, EvaluationSet.num_items >= min_items)
        .order_by(col(EvaluationSet.number).desc())
        .limit(1)
    )
    return (await session.exec(query)).first()


async def count_fresh_items(session: AsyncSession, set_id: int, since: datetime) -> int:
    """Return how many items of a revision are dated after `since`."""
    query = (
        select(func.count())
        .select_from(ExampleRow)
        .where(ExampleRow.evaluation_set_id == set_id, col(ExampleRow.at) > since)
    )
    return (await session.exec(query)).one()


async def list_sets(
    session: AsyncSession, alias: Alias | None = None, page: Page = WHOLE
) -> list[EvaluationSet]:
    """Return an alias's revisions, or all, newest first."""
    query = newest_first(select(EvaluationSet), col(EvaluationSet.id), page)
    if alias is not None:
        query = query.where(EvaluationSet.alias_id == alias.id)
    return list(await session.exec(query))


async def numbers_of_sets(session: AsyncSession, set_ids: Collection[int | None]) -> dict[int, int]:
    """Return the revisions' numbers by their ids."""
    query = select(EvaluationSet.id, EvaluationSet.number)
    found = await session.exec(query.where(col(EvaluationSet.id).in_(set_ids)))
    return {set_id: number for set_id, number in found if set_id is not None}


async def get_set(session: AsyncSession, set_id: int) -> EvaluationSet:
    """Return one revision.

    Raises:
        NotFoundError: there is none.
    """
    found = await session.get(EvaluationSet, set_id)
    if found is None:
        raise NotFoundError(f"There is no evaluation set with id {set_id}.")
    return found


async def create_set(
    session: AsyncSession,
    alias_id: int,
    *,
    dated_at: datetime,
    num_items: int,
    digest: str,
    origin: str,
) -> EvaluationSet:
    """Add a revision; its items are added by who has them, and has locked the material."""
    newest = select(func.max(EvaluationSet.number)).where(EvaluationSet.alias_id == alias_id)
    number = ((await session.exec(newest)).one() or 0) + 1
    made = EvaluationSet(
        alias_id=alias_id,
        number=number,
        dated_at=dated_at,
        num_items=num_items,
        digest=digest,
        origin=origin,
    )
    session.add(made)
    await session.flush()
    return made


async def find_evaluation(session: AsyncSession, set_id: int, release_id: int) -> Evaluation | None:
    """Return what a release scored on a revision, the newest time; None if it was not asked yet."""
    query = select(Evaluation).where(
        Evaluation.evaluation_set_id == set_id, Evaluation.release_id == release_id
    )
    return (await session.exec(query.order_by(col(Evaluation.id).desc()).limit(1))).first()


async def list_evaluations(
    session: AsyncSession, set_id: int, page: Page = WHOLE
) -> list[Evaluation]:
    """Return what releases scored on a revision: of each the newest, newest release first."""
    release_id = col(Evaluation.release_id)
    query = newest_first(select(Evaluation), release_id, page).ext(distinct_on(release_id))
    query = query.where(Evaluation.evaluation_set_id == set_id)
    return list(await session.exec(query.order_by(col(Evaluation.id).desc())))


async def save_evaluation(
    session: AsyncSession,
    *,
    set_id: int,
    release_id: int,
    run_id: int | None,
    summary: dict[str, Any],
    scores: Sequence[float],
) -> Evaluation:
    """Keep what a release scored."""
    made = Evaluation(
        evaluation_set_id=set_id,
        release_id=release_id,
        run_id=run_id,
        summary=summary,
        scores=list(scores),
    )
    session.add(made)
    await session.flush()
    return made
