"""Scoring a release: what `strop eval` does. Apart from what reads scores: this loads numpy."""

from collections.abc import Callable

import httpx
from sqlmodel.ext.asyncio.session import AsyncSession

from gateway.operations.evaluations import describe_set_scores
from gateway.operations.resources import Json, Resources
from retrain.evaluate import evaluate_release
from retrain.executor import LocalExecutor
from retrain.shop import Shop
from serving.errors import InvalidRequestError
from serving.store import aliases, evaluations, releases
from serving.store.tables import Alias, Release


async def evaluate(
    resources: Resources,
    name: str,
    tenant: str,
    number: int | None,
    on_begin: Callable[[int], None],
    on_answer: Callable[[], None],
) -> Json:
    """Score a release, or the champion, on the alias's newest evaluation set.

    What it scored there within the last week is not asked again.

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
        return {"release": release.number, **await describe_set_scores(session, alias, newest)}


async def _release(session: AsyncSession, alias: Alias, number: int | None) -> Release:
    if number is not None:
        return await releases.find_release(session, alias, number)
    assert alias.champion_id is not None
    return await releases.get_release(session, alias.champion_id)


def _shop(resources: Resources, client: httpx.AsyncClient) -> Shop:
    settings = resources.settings
    return Shop(
        database=resources.database,
        settings=settings,
        engines=resources.engines,
        client=client,
        executor=LocalExecutor(settings.train.command, secrets=settings.key_variables),
    )
