"""Evaluations that were made: what `/api/evaluations` and `strop eval` say."""

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from gateway.operations.datasets import describe_set
from gateway.operations.resources import Json, Resources
from serving.store import aliases, evaluations
from serving.store.learning import Evaluation, EvaluationSet
from serving.store.paging import WHOLE, Page
from serving.store.tables import Alias, Release


async def list_evaluations(resources: Resources, name: str, tenant: str, page: Page) -> Json:
    """Return what releases scored on the alias's newest evaluation set, newest release first."""
    async with resources.database.session() as session:
        alias = await aliases.find_alias(session, name, tenant)
        newest = await evaluations.newest_set(session, aliases.id_of(alias))
        return await describe_set_scores(session, alias, newest, page)


async def describe_evaluations(session: AsyncSession, rows: list[Evaluation]) -> list[Json]:
    """Return evaluations as callers see them: numbers instead of row ids, no item scores."""
    wanted = {row.release_id for row in rows}
    found = await session.exec(select(Release).where(col(Release.id).in_(wanted)))
    numbers = {release.id: release.number for release in found}
    revisions = await evaluations.numbers_of_sets(session, {row.evaluation_set_id for row in rows})
    return [
        {
            "release": numbers[row.release_id],
            "evaluation_set": revisions[row.evaluation_set_id],
            **row.summary,
            "run": row.run_id,
            "at": row.at.isoformat(),
        }
        for row in rows
    ]


async def describe_set_scores(
    session: AsyncSession, alias: Alias, newest: EvaluationSet | None, page: Page = WHOLE
) -> Json:
    """Return what the alias's releases scored on an evaluation set."""
    rows = []
    if newest is not None:
        rows = await evaluations.list_evaluations(session, aliases.id_of(newest), page)
    return {
        "alias": alias.name,
        "tenant": alias.tenant,
        "evaluation_set": describe_set(newest) if newest else None,
        "evaluations": await describe_evaluations(session, rows),
        "next": page.next_after([row.release_id for row in rows]),
    }
