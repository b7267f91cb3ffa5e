"""Runs: one attempt to train each, from `queued` to its end."""

from datetime import datetime
from typing import Any

from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from serving.errors import ConflictError, NotFoundError
from serving.store.learning import Decision, Run, RunState, Trigger
from serving.store.paging import WHOLE, Page, newest_first
from serving.store.tables import Alias, utc_now


async def create_run(
    session: AsyncSession,
    alias_id: int,
    *,
    trigger: Trigger,
    reason: str,
    actor: str,
    period: str | None = None,
    dataset_id: int | None = None,
    fell_at: datetime | None = None,
) -> Run | None:
    """Queue a run, unless the alias has one under way, or one for this period already.

    The database decides, by two unique indexes: of any number of processes that want the same
    run at the same time, one gets it.

    Returns:
        The run; None where another one stands in its way.
    """
    values: dict[str, Any] = {
        "alias_id": alias_id,
        "trigger": trigger,
        "reason": reason,
        "actor": actor,
        "period": period,
        "dataset_id": dataset_id,
        "fell_at": fell_at,
        "state": RunState.QUEUED,
        "is_cancelled": False,
        "progress": {},
        "num_restarts": 0,
        "furthest_step": 0,
        "created_at": utc_now(),
    }
    statement = insert(Run).values(**values).on_conflict_do_nothing().returning(col(Run.id))
    run_id = await session.scalar(statement)
    return None if run_id is None else await get_run(session, run_id)


async def get_run(session: AsyncSession, run_id: int) -> Run:
    """Return a run as it is now.

    Raises:
        NotFoundError: there is none.
    """
    run = await session.get(Run, run_id, populate_existing=True)
    if run is None:
        raise _unknown(run_id)
    return run


async def list_runs(
    session: AsyncSession, alias: Alias | None = None, page: Page = WHOLE
) -> list[Run]:
    """Return the runs of an alias, or all, newest first."""
    query = newest_first(select(Run), col(Run.id), page)
    if alias is not None:
        query = query.where(Run.alias_id == alias.id)
    return list(await session.exec(query))


async def list_active_runs(session: AsyncSession) -> list[Run]:
    """Return the runs that have not ended, oldest first: one that passed is yet to be promoted."""
    query = select(Run).where(col(Run.ended_at).is_(None)).order_by(col(Run.id))
    return list(await session.exec(query))


async def newest_runs(session: AsyncSession) -> dict[int, Run]:
    """Return the newest run of each alias that has one, by the alias's id."""
    query = select(Run).ext(distinct_on(col(Run.alias_id)))
    found = await session.exec(query.order_by(col(Run.alias_id), col(Run.id).desc()))
    return {run.alias_id: run for run in found}


async def newest_decisions(session: AsyncSession) -> dict[int, Decision]:
    """Return the newest decision about each alias that was looked at, by the alias's id."""
    query = select(Decision).ext(distinct_on(col(Decision.alias_id)))
    found = await session.exec(query.order_by(col(Decision.alias_id), col(Decision.id).desc()))
    return {decision.alias_id: decision for decision in found}


async def lock_run(session: AsyncSession, run_id: int) -> Run:
    """Return a run as it is now, locked against changes until the transaction ends.

    Raises:
        NotFoundError: there is none.
    """
    query = select(Run).where(Run.id == run_id).with_for_update(key_share=True)
    run = (await session.exec(query.execution_options(populate_existing=True))).one_or_none()
    if run is None:
        raise _unknown(run_id)
    return run


async def cancel_run(session: AsyncSession, run_id: int) -> Run:
    """Ask for a run's end; the worker brings it about.

    Raises:
        NotFoundError: there is none.
        ConflictError: it has ended already.
    """
    run = await lock_run(session, run_id)
    if run.ended_at is not None:
        raise ConflictError(f"Run {run_id} has ended already: {run.state}.")
    run.is_cancelled = True
    return run


def end_run(run: Run, state: RunState, error: str | None = None) -> None:
    """Put a run into its last state."""
    run.state = state
    note_error(run, error)
    run.ended_at = utc_now()


def note_error(run: Run, error: str | None) -> None:
    """Keep why a run failed, or what it waits for. They may be a trainer's words."""
    run.error = error and error.replace("\0", "")  # TEXT takes no NUL


def _unknown(run_id: int) -> NotFoundError:
    return NotFoundError(f"There is no run {run_id}. `strop runs list` shows all.")
