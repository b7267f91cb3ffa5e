"""Jobs: run when due, one at a time, and a failure of one stops none."""

import asyncio
from collections.abc import Callable

import pytest
from sqlalchemy import text

from retrain.jobs import Job, keep_working, run_once
from serving.store.database import Database


class Work:
    """Counts its runs, notices overlaps, and fails as often as it is told to."""

    def __init__(self, num_failures: int = 0) -> None:
        self.num_failures = num_failures
        self.num_ended = 0
        self.num_running = 0
        self.is_overlapping = False
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def __call__(self) -> None:
        self.num_running += 1
        self.is_overlapping |= self.num_running > 1
        try:
            await self.may_end.wait()
            if self.num_failures:
                self.num_failures -= 1
                raise ZeroDivisionError
        finally:
            self.num_running -= 1
        self.num_ended += 1


async def test_a_run_in_hand_is_finished() -> None:
    """Asked to stop in the middle of a run, a job ends it and begins no other."""
    work, stopping = Work(), asyncio.Event()
    job = Job(name="slow", seconds=1, work=work)
    working = await begun(job, work, stopping)
    job.due.set()
    stopping.set()
    assert not working.done()
    work.may_end.set()
    await asyncio.wait_for(working, 30)
    assert (work.num_ended, job.num_runs) == (1, 1)


async def test_a_repeatable_run_is_cut_off() -> None:
    """What the next start takes up again does not hold up the end; it is no failure either."""
    work, stopping = Work(), asyncio.Event()
    job = Job(name="long", seconds=1, work=work, is_repeatable=True)
    working = await begun(job, work, stopping)
    stopping.set()
    await asyncio.wait_for(working, 30)
    assert (work.num_running, work.num_ended, job.num_failures) == (0, 0, 0)


async def test_ticks_during_a_run_become_one_more() -> None:
    """However often a job was due while it ran, it runs once more, and never beside itself."""
    work, stopping = Work(), asyncio.Event()
    job = Job(name="slow", seconds=1, work=work)
    working = await begun(job, work, stopping)
    for _ in range(5):
        job.due.set()
    work.may_end.set()
    await until(lambda: work.num_ended == 2)
    stopping.set()
    await asyncio.wait_for(working, 30)
    assert (work.num_ended, work.is_overlapping) == (2, False)


async def test_a_failure_is_counted_and_tried_again() -> None:
    """A job that raises comes back by itself, after a pause, and its success clears the row."""
    work, stopping = Work(num_failures=1), asyncio.Event()
    job = Job(name="shaky", seconds=1, work=work)
    job.due.set()
    working = asyncio.create_task(keep_working(job, stopping))
    await until(lambda: work.num_ended == 1)
    stopping.set()
    await asyncio.wait_for(working, 30)
    assert (job.num_runs, job.num_failures, job.num_failures_in_row) == (2, 1, 0)


async def test_no_prompt_reaches_the_log(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """A failing statement has prompts in its parameters, and in the row that PostgreSQL quotes."""
    values = {"tenant": "SENTINEL PROMPT", "name": "a"}

    async def fail() -> None:
        async with database.engine.begin() as connection:
            await connection.execute(
                text("INSERT INTO strop_alias (tenant, name) VALUES (:tenant, :name)"), values
            )

    job = Job(name="ingest", seconds=1, work=fail)
    await run_once(job)
    assert job.num_failures == 1
    assert "null value in column" in caplog.text
    assert "SENTINEL" not in caplog.text


async def begun(job: Job, work: Work, stopping: asyncio.Event) -> asyncio.Task[None]:
    """Have a job that is due begin its work, and not end it yet."""
    work.may_end.clear()
    job.due.set()
    working = asyncio.create_task(keep_working(job, stopping))
    await until(lambda: work.num_running == 1)
    return working


async def until(is_so: Callable[[], bool]) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(60):
        while not is_so():  # noqa: ASYNC110 - plain counters, no events
            await asyncio.sleep(0.005)
