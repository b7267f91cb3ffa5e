"""The worker process: takes the journal in, gives engines their adapters, deals reviews, learns, and
purges.

1. Every job runs at the start, then every so many seconds (`[worker]` of strop.toml).
2. Who changes the catalogue says so (NOTIFY): the reconciler then runs at once.
3. SIGTERM or SIGINT: what is in hand is finished, nothing new begins; a run's step and a purge, which
   may take minutes and can be taken up again, are cut off.
"""

import asyncio
import logging
import signal
from functools import partial
from pathlib import Path

import httpx
import psycopg

from monitoring.ingest_metrics import IngestMetrics, serving_metrics
from monitoring.reviews import sample_reviews
from retrain.executor import LocalExecutor
from retrain.jobs import Job, keep_working, wait_any
from retrain.learn import advance_runs, look_at_aliases
from retrain.schedule import Schedule
from retrain.shop import Shop
from serving.fleet.engines import engines_of, read_api_key
from serving.fleet.reconcile import reconcile
from serving.journal.ingest import ingest
from serving.pause import pause_seconds
from serving.purge import purge_expired
from serving.settings import Settings
from serving.store.database import Database

_logger = logging.getLogger("strop.retrain")

_HEARTBEAT_SECONDS = 60.0
_LEARN_SECONDS = 1.0
_SAMPLE_SECONDS = 2.0
_PURGE_SECONDS = 3600.0
# These run beside gateways that hold an upstream's key, and need none themselves.
_WITHOUT_ENGINES = frozenset({"ingest", "sample", "purge"})


def run_worker(settings: Settings, url: str, only: str | None = None) -> None:
    """Work until SIGTERM or SIGINT.

    Args:
        url: of the database.
        only: the name of the one job to run; None: all of them.
    """
    asyncio.run(_run(settings, url, only))


async def work(
    settings: Settings, url: str, stopping: asyncio.Event, only: str | None = None
) -> None:
    """Run the jobs until `stopping` is set and what is in hand is finished."""
    database = Database.connect(url)
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            metrics = IngestMetrics()
            jobs = make_jobs(settings, database, client, only, metrics)
            with serving_metrics(metrics, settings.worker):
                await run_jobs(jobs, database, stopping)
    finally:
        await database.close()


def make_jobs(
    settings: Settings,
    database: Database,
    client: httpx.AsyncClient,
    only: str | None,
    metrics: IngestMetrics,
) -> list[Job]:
    """Return the jobs of a worker, or the one that is asked for.

    Raises:
        ConfigurationError: a job that asks engines lacks the key of an upstream.
    """
    if only not in _WITHOUT_ENGINES:
        for pool in settings.all_pools:
            read_api_key(pool)
    engines = engines_of(settings, client)
    shop = Shop(
        database=database,
        settings=settings,
        engines=engines,
        client=client,
        executor=LocalExecutor(settings.train.command, secrets=settings.key_variables),
    )
    jobs = [
        Job(
            name="ingest",
            seconds=settings.worker.ingest_seconds,
            work=partial(take_in, database, settings.journal_dir, metrics),
        ),
        Job(
            name="reconcile",
            seconds=settings.worker.reconcile_seconds,
            work=partial(reconcile, database, settings, engines),
        ),
        Job(
            name="sample",
            seconds=_SAMPLE_SECONDS,
            work=partial(sample_reviews, database, settings.learning.review_share),
        ),
        Job(
            name="learn",
            seconds=_LEARN_SECONDS,
            work=partial(advance_runs, shop),
            is_repeatable=True,
        ),
        Job(
            name="look",
            seconds=settings.learning.check_seconds,
            work=partial(look_at_aliases, shop),
        ),
        Job(
            name="purge",
            seconds=_PURGE_SECONDS,
            work=partial(purge_expired, database, settings),
            is_repeatable=True,
        ),
    ]
    return [job for job in jobs if only in (None, job.name)]


async def take_in(database: Database, folder: Path, metrics: IngestMetrics) -> None:
    """Take the journal into the database, and count what came of it."""
    metrics.saw(await ingest(database, folder))


async def run_jobs(jobs: list[Job], database: Database, stopping: asyncio.Event) -> None:
    """Run jobs whenever they are due, until `stopping` is set."""
    schedule = Schedule()
    for job in jobs:
        job.due.set()
        schedule.every(job.seconds, job.due.set)
    schedule.every(_HEARTBEAT_SECONDS, partial(report, jobs))
    schedule.start()
    reconcilers = [job for job in jobs if job.name == "reconcile"]
    follower = asyncio.create_task(follow_revisions(database, reconcilers, stopping))
    try:
        await asyncio.gather(*(keep_working(job, stopping) for job in jobs))
    finally:
        schedule.stop()
        follower.cancel()
        report(jobs)


async def follow_revisions(database: Database, jobs: list[Job], stopping: asyncio.Event) -> None:
    """Make `jobs` due whenever the catalogue changes; connect again when the database was away."""
    num_failures = 0
    while jobs and not stopping.is_set():
        try:
            async with database.listen() as connection:
                num_failures = 0
                async for _ in connection.notifies():
                    for job in jobs:
                        job.due.set()
        except (psycopg.Error, OSError) as error:
            num_failures += 1
            _logger.warning("No word from the database of changes: %s", error)
            await wait_any(stopping, timeout=pause_seconds(num_failures))


def report(jobs: list[Job]) -> None:
    """Log the heartbeat: what has run since the start, and what failed."""
    _logger.info(
        "worker: %s",
        ", ".join(f"{job.name} {job.num_runs} runs, {job.num_failures} failed" for job in jobs),
    )


async def _run(settings: Settings, url: str, only: str | None) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    await work(settings, url, stopping, only)
