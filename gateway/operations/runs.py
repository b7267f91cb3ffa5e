"""Training runs: what `strop train`, `strop runs` and `/api/runs` do and say."""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from gateway.operations.resources import Json, Resources
from gateway.operations.sentences import tell_run
from retrain.prepare import base_to_train
from serving.errors import ConflictError, InvalidRequestError, UnavailableError
from serving.store import aliases, runs
from serving.store.datasets import get_dataset
from serving.store.learning import Run, Trigger
from serving.store.paging import WHOLE, Page
from serving.store.releases import get_release
from serving.store.tables import Alias, Release
from serving.store.workers import silence_of_worker

_LOOK_SECONDS = 1.0
_WORKER_GONE = timedelta(seconds=60)


async def start_run(
    resources: Resources,
    name: str,
    tenant: str,
    *,
    actor: str,
    dataset_id: int | None = None,
) -> Json:
    """Queue a run; a worker takes it up.

    Raises:
        ConflictError: the alias has a run under way.
        NotFoundError: there is no such alias or dataset.
        InvalidRequestError: the dataset is another alias's, or its pool takes no adapters.
        ConfigurationError: its pool names no base model to train on.
    """
    async with resources.database.session() as session:
        alias = await aliases.find_alias(session, name, tenant)
        assert alias.champion_id is not None
        champion = await get_release(session, alias.champion_id)
        base_to_train(resources.settings, champion.pool)
        if dataset_id is not None:
            await _check_dataset(session, alias, dataset_id)
        run = await runs.create_run(
            session,
            aliases.id_of(alias),
            trigger=Trigger.MANUAL,
            reason="asked for by hand",
            actor=actor,
            dataset_id=dataset_id,
        )
        if run is None:
            newest = (await runs.list_runs(session, alias, Page(limit=1)))[0]
            raise ConflictError(
                f"Run {newest.id} of {alias.name!r} is under way ({newest.state}). Wait for its "
                f"end, or cancel it: `strop runs cancel {newest.id}`."
            )
        (described,) = await describe_runs(session, [run])
        return described


async def list_runs(
    resources: Resources, name: str | None = None, tenant: str = "default", page: Page = WHOLE
) -> Json:
    """Return runs, all or those of one alias, newest first."""
    async with resources.database.session() as session:
        alias = await aliases.find_alias(session, name, tenant) if name else None
        rows = await runs.list_runs(session, alias, page)
        described = await describe_runs(session, rows)
    return {"runs": described, "next": page.next_after([row.id for row in rows])}


async def show_run(resources: Resources, run_id: int) -> Json:
    """Return one run, with the scores that it was judged by."""
    async with resources.database.session() as session:
        run = await runs.get_run(session, run_id)
        (described,) = await describe_runs(session, [run])
        return {**described, "evaluations": scores_of(run)}


async def cancel_run(resources: Resources, run_id: int) -> Json:
    """Ask for a run's end; the worker brings it about."""
    async with resources.database.session() as session:
        run = await runs.cancel_run(session, run_id)
        (described,) = await describe_runs(session, [run])
        return described


async def wait_for_run(resources: Resources, run_id: int, on_look: Callable[[Json], None]) -> Json:
    """Return a run once it has ended; meanwhile hand each look at it to `on_look`.

    Raises:
        UnavailableError: for a minute no worker has given a sign of life.
    """
    began_at = time.monotonic()
    while True:
        async with resources.database.session() as session:
            run = await runs.get_run(session, run_id)
            (described,) = await describe_runs(session, [run])
            silence = await silence_of_worker(session)
        on_look(described)
        if run.ended_at is not None:
            return await show_run(resources, run_id)
        _refuse_without_worker(run, silence, timedelta(seconds=time.monotonic() - began_at))
        await asyncio.sleep(_LOOK_SECONDS)


async def describe_runs(session: AsyncSession, rows: list[Run]) -> list[Json]:
    """Return runs as callers see them: names and numbers instead of row ids."""
    owners = await aliases.aliases_by_id(session, {row.alias_id for row in rows})
    wanted = {id_ for row in rows for id_ in (row.release_id, row.champion_id)}
    found = await session.exec(select(Release).where(col(Release.id).in_(wanted - {None})))
    numbers = {release.id: release.number for release in found}
    return [
        {
            "id": row.id,
            "alias": owners[row.alias_id].name,
            "tenant": owners[row.alias_id].tenant,
            "state": row.state.value,
            "summary": tell_run(row),
            "trigger": row.trigger.value,
            "period": row.period,
            "reason": row.reason,
            "actor": row.actor,
            "is_cancelled": row.is_cancelled,
            "dataset": row.dataset_id,
            "progress": row.progress,
            "release": numbers.get(row.release_id),
            "champion": numbers.get(row.champion_id),
            "verdict": row.verdict,
            "error": row.error,
            "created_at": row.created_at.isoformat(),
            "started_at": row.started_at.isoformat() if row.started_at else None,
            "ended_at": row.ended_at.isoformat() if row.ended_at else None,
        }
        for row in rows
    ]


def scores_of(run: Run) -> list[Json]:
    """Return what each release scored that a run's verdict rests on, whichever run had asked it."""
    verdict = run.verdict or {}
    scored: dict[str, Json] = verdict.get("evaluations", {})
    return [
        {"contestant": name, "evaluation_set": verdict["evaluation_set"], **scores}
        for name, scores in scored.items()
    ]


async def _check_dataset(session: AsyncSession, alias: Alias, dataset_id: int) -> None:
    dataset = await get_dataset(session, dataset_id)
    if dataset.alias_id != alias.id:
        raise InvalidRequestError(
            f"Dataset {dataset_id} is another alias's than {alias.name!r}. "
            f"`strop datasets list {alias.name}` shows its own.",
            param="dataset",
        )


def _refuse_without_worker(run: Run, silence: timedelta | None, waited: timedelta) -> None:
    if waited < _WORKER_GONE or (silence is not None and silence < _WORKER_GONE):
        return
    raise UnavailableError(
        f"Run {run.id} stays {run.state}: no worker runs on this database. Start one with "
        f"`strop up`; it takes the run up by itself, and `strop runs show {run.id}` tells how far "
        "it is.",
        code="no_worker",
    )
