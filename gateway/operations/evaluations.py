"""Evaluations: what `strop eval` and `/api/evaluations` do and say."""

from collections.abc import Callable

import httpx
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from gateway.operations.datasets import describe_set
from gateway.operations.resources import Json, Resources
from retrain.evaluate import evaluate_release
from retrain.executor import LocalExecutor
from retrain.shop import Shop
from serving.errors import InvalidRequestError
from serving.store import aliases, evaluations, releases
from serving.store.learning import Evaluation, EvaluationSet
from serving.store.tables import Alias, Release


async def list_evaluations(resources: Resources, name: str, tenant: str) -> Json:
    """Return what releases scored on the alias's newest evaluation set."""
    async with resources.database.session() as session:
        alias = await aliases.find_alias(session, name, tenant)
        newest = await evaluations.newest_set(session, aliases.id_of(alias))
        return await _describe(session, alias, newest)


async def evaluate(
    resources: Resources,
    name: str,
    tenant: str,
    number: int | None,
    on_begin: Callable[[int], None],
    on_answer: Callable[[], None],
) -> Json:
    """Score a release, or the champion, on the alias's newest evaluation set; asked once, kept.

    Args:
        on_begin: called with the number of items.
        on_answer: called at each answer.

    Raises:
        InvalidRequestError: the alias has no evaluation set.
    """
    async with resources.database.session() as session:
        alias = await aliases.find_alias(session, name, tenant)
        release = await _release(session, alias, number)
        newest = await evaluations.newest_set(session, aliases.id_of(alias))
    if newest is None:
        raise InvalidRequestError(
            f"{alias.name!r} has no evaluation set. `strop datasets import {alias.name} FILE "
            "--split eval` makes one.",
            code="no_evaluation_set",
        )
    on_begin(newest.num_items)
    async with httpx.AsyncClient(trust_env=False) as client:
        await evaluate_release(
            _shop(resources, client), alias, newest, release, on_answer=on_answer
        )
    async with resources.database.session() as session:
        return {"release": release.number, **await _describe(session, alias, newest)}


async def describe_evaluations(session: AsyncSession, rows: list[Evaluation]) -> list[Json]:
    """Return evaluations as callers see them: numbers instead of row ids, no item scores."""
    wanted = {row.release_id for row in rows}
    found = await session.exec(select(Release).where(col(Release.id).in_(wanted)))
    numbers = {release.id: release.number for release in found}
    sets = await session.exec(
        select(EvaluationSet).where(
            col(EvaluationSet.id).in_({row.evaluation_set_id for row in rows})
        )
    )
    revisions = {found.id: found.number for found in sets}
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


async def _release(session: AsyncSession, alias: Alias, number: int | None) -> Release:
    if number is not None:
        return await releases.find_release(session, alias, number)
    assert alias.champion_id is not None
    return await releases.get_release(session, alias.champion_id)


async def _describe(session: AsyncSession, alias: Alias, newest: EvaluationSet | None) -> Json:
    rows = []
    if newest is not None:
        assert newest.id is not None
        rows = await evaluations.list_evaluations(session, newest.id)
    return {
        "alias": alias.name,
        "tenant": alias.tenant,
        "evaluation_set": describe_set(newest) if newest else None,
        "evaluations": await describe_evaluations(session, rows),
    }


def _shop(resources: Resources, client: httpx.AsyncClient) -> Shop:
    settings = resources.settings
    return Shop(
        database=resources.database,
        settings=settings,
        engines=resources.engines,
        client=client,
        executor=LocalExecutor(settings.train.command),
    )
