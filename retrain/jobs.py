"""Jobs that run again and again: one at a time each, and a failure of one stops none."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import psycopg
from sqlalchemy.exc import DBAPIError

from serving.pause import pause_seconds
from serving.store.database import reason_of

_logger = logging.getLogger("strop.retrain")


@dataclass(slots=True, kw_only=True)
class Job:
    """Work that is due every `seconds`, and at once when `due` is set."""

    name: str
    seconds: float
    work: Callable[[], Awaitable[object]]
    is_repeatable: bool = False
    """Whether a run in hand may be cut off at the end, because the next one takes it up again."""
    due: asyncio.Event = field(default_factory=asyncio.Event)
    num_runs: int = 0
    num_failures: int = 0
    num_failures_in_row: int = 0


async def keep_working(job: Job, stopping: asyncio.Event) -> None:
    """Run the job whenever it is due, until `stopping`; a run in hand is finished or cut off."""
    while await _is_due(job, stopping):
        job.due.clear()
        if job.is_repeatable:
            await _run_until(job, stopping)
        else:
            await run_once(job)
        if job.num_failures_in_row:
            # The database or an engine is away: look again, at a growing distance.
            await wait_any(stopping, timeout=pause_seconds(job.num_failures_in_row))
            job.due.set()


async def run_once(job: Job) -> None:
    """Run the job; a failure is logged and counted."""
    job.num_runs += 1
    try:
        await job.work()
    except Exception as error:  # noqa: BLE001 - whatever it was, it is tried again
        job.num_failures += 1
        job.num_failures_in_row += 1
        log_failure(f"{job.name} failed ({job.num_failures_in_row} in a row)", error)
    else:
        job.num_failures_in_row = 0


def log_failure(what: str, error: Exception) -> str:
    """Log a failure that is tried again; return its words, which hold no row of the database."""
    if isinstance(error, DBAPIError | psycopg.Error):
        words = f"the database said: {reason_of(error)}"
        # Without its traceback, which quotes rows, and with them prompts.
        _logger.error("%s, it is tried again; %s", what, words)
    else:
        words = f"{type(error).__name__}: {error}"
        _logger.error("%s; it is tried again", what, exc_info=error)
    return words


async def wait_any(*events: asyncio.Event, timeout: float | None = None) -> None:
    """Return when one of the events is set, or after `timeout` seconds."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


async def _run_until(job: Job, stopping: asyncio.Event) -> None:
    """Run the job; cut it off when `stopping` is set."""
    running = asyncio.create_task(run_once(job))
    stopped = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait((running, stopped), return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
        running.cancel()
        await asyncio.wait((running,))


async def _is_due(job: Job, stopping: asyncio.Event) -> bool:
    await wait_any(job.due, stopping)
    return not stopping.is_set()
