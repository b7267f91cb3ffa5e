"""What a gateway worker works with, built when it starts and taken apart when it stops."""

import asyncio
import logging
import os
import re
import secrets
import socket
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

import httpx

from gateway.follow import DATABASE_ERRORS, Follower
from gateway.gauges import Gauges
from gateway.heartbeat import Heartbeat
from gateway.inference.dispatch import Dispatcher
from gateway.inference.meter import Meter
from gateway.inference.traffic import Traffic
from gateway.quota.addresses import AddressLimiter
from gateway.quota.admission import Quotas
from gateway.quota.table import SharedTable
from gateway.tracing.setup import make_tracing
from gateway.tracing.trace import Tracing
from gateway.upstream.client import SocketUpstream
from gateway.upstream.protocol import Upstream
from monitoring.metrics import Metrics
from serving.errors import UnavailableError
from serving.fleet.engine import Engine
from serving.fleet.engines import engines_of, read_api_key
from serving.fleet.proof import Prover
from serving.ids import Signer, load_signer
from serving.journal.writer import JournalWriter
from serving.routing.catalog import Catalog
from serving.sections import PoolSettings
from serving.settings import Settings
from serving.store.database import Database

logger = logging.getLogger("strop.gateway")

_LAST_RECORDS_SECONDS: Final = 5.0
_FIRST_PROOFS_SECONDS: Final = 5.0
_LOST_POOL_SECONDS: Final = 60.0
_NUM_RESERVED: Final = 2
"""Connections to the database that only the follower and the heartbeat take."""
_NO_METER: Final = nullcontext()


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """One gateway worker's parts. The request path uses all but the database."""

    settings: Settings
    database: Database
    engines: Mapping[str, tuple[Engine, ...]]
    signer: Signer
    journal: JournalWriter
    follower: Follower
    prover: Prover
    upstream: Upstream
    traffic: Traffic
    dispatcher: Dispatcher
    metrics: Metrics
    gauges: Gauges
    tracing: Tracing
    quotas: Quotas
    feedback_limiter: AddressLimiter
    pools: Mapping[str, PoolSettings]
    prices: Mapping[str, float | None]
    """Pool -> what an hour of one of its replicas costs."""
    bases: dict[str, str]
    """Served name of a base model -> its pool."""
    pool_headers: Mapping[str, dict[str, str]]
    """Pool -> headers that its engines want, such as an upstream's own key."""
    background: tuple[asyncio.Task[None], ...]
    """What has to run for as long as this worker does: proofs, catalogue, heartbeat, metrics."""

    @property
    def catalog(self) -> Catalog:
        """Keys and aliases as of now.

        Raises:
            UnavailableError: the database could not be read since this worker started.
        """
        if not self.follower.is_loaded:
            raise UnavailableError(
                "The gateway has not read its keys yet: the database does not answer.",
                code="catalog_not_loaded",
                retry_after=2,
            )
        return self.follower.catalog

    def meter(self, pool: str, replica: str) -> AbstractContextManager[Meter | None]:
        """Return what measures a request's share of a replica, if that has a price."""
        price = self.prices.get(pool)
        return _NO_METER if price is None else Meter(self.quotas.table, replica, price)

    def pool(self, name: str) -> PoolSettings:
        """Return the pool that a release names.

        Raises:
            UnavailableError: it is not configured any more. The follower's log names it; clients
                are told no names of the configuration.
        """
        found = self.pools.get(name)
        if found is None:
            raise UnavailableError(
                "No engine serves this model now. Its operator has to mend that.",
                code="no_engine",
                retry_after=_LOST_POOL_SECONDS,
            )
        return found


@asynccontextmanager
async def open_runtime(settings: Settings, url: str) -> AsyncIterator[Runtime]:
    """Yield a running worker's parts; at the end wait for the last records, then close.

    Args:
        settings: the configuration.
        url: the database, postgresql://...

    Raises:
        ConfigurationError: sign.key is missing, a pool is described wrongly, or the file of limits or
            OpenTelemetry cannot be had.
        UnavailableError: the journal cannot be written.
    """
    worker_id = make_worker_id(socket.gethostname())
    async with AsyncExitStack() as stack:
        signer = load_signer(settings.sign_key)
        journal = JournalWriter(settings.journal_dir, settings.journal, worker_id)
        stack.callback(journal.close)
        limits = SharedTable(settings.home / "limits")
        stack.callback(limits.close)
        database = Database.connect(url)
        stack.push_async_callback(database.close)
        # Operators' calls may hold all the others for minutes; revoked keys do not wait for them.
        reserve = Database.connect(url, pool_size=_NUM_RESERVED)
        stack.push_async_callback(reserve.close)
        client = await stack.enter_async_context(httpx.AsyncClient(trust_env=False))
        engines = engines_of(settings, client)
        upstream = SocketUpstream()
        stack.push_async_callback(upstream.close)
        metrics, traffic, prover = Metrics(), Traffic(), Prover(settings, engines)
        tracing = make_tracing(settings, metrics)
        stack.push_async_callback(tracing.close)
        follower = Follower(reserve, prover, metrics)
        dispatcher = Dispatcher(prover, settings, metrics)
        gauges = Gauges(settings, engines, prover, dispatcher, metrics)
        heartbeat = Heartbeat(worker_id, reserve, follower, prover, traffic, metrics, gauges)
        await _load_first_catalog(follower)
        stack.push_async_callback(heartbeat.stop)
        background = [
            await stack.enter_async_context(_running(work))
            for work in (prover.run(), follower.run(), heartbeat.run(), metrics.run())
        ]
        if settings.gateway.workers > 1:
            # Others answer meanwhile; what this one has not proved, it would turn away.
            await follower.settle(_FIRST_PROOFS_SECONDS)
        stack.callback(metrics.publish)
        stack.push_async_callback(_wait_for_last_records, traffic)
        yield Runtime(
            settings=settings,
            database=database,
            engines=engines,
            signer=signer,
            journal=journal,
            follower=follower,
            prover=prover,
            upstream=upstream,
            traffic=traffic,
            dispatcher=dispatcher,
            metrics=metrics,
            gauges=gauges,
            tracing=tracing,
            quotas=Quotas(limits),
            feedback_limiter=AddressLimiter(
                limits, signer.address_key(), settings.gateway.feedback_per_minute
            ),
            pools={pool.name: pool for pool in settings.all_pools},
            prices={pool.name: pool.price_per_hour for pool in settings.all_pools},
            bases={pool.served_name: pool.name for pool in settings.all_pools},
            pool_headers=_pool_headers(settings),
            background=tuple(background),
        )


def make_worker_id(host: str) -> str:
    """Return an id that no other worker has, fit to begin a journal segment's name."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "-", host)[:32]
    return f"{plain}-{os.getpid()}-{secrets.token_hex(4)}"


def _pool_headers(settings: Settings) -> dict[str, dict[str, str]]:
    """Return the credentials that upstreams want.

    Raises:
        ConfigurationError: one is not there.
    """
    keys = {pool.name: read_api_key(pool) for pool in settings.all_pools}
    return {name: {"authorization": f"Bearer {key}"} if key else {} for name, key in keys.items()}


async def _load_first_catalog(follower: Follower) -> None:
    try:
        await follower.reload()
    except DATABASE_ERRORS as error:
        logger.warning("Starting without keys, the database does not answer: %r", error)
    except Exception:
        logger.exception("Starting without keys, the catalogue cannot be read")


@asynccontextmanager
async def _running(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Run `work` beside the block. It never ends by itself; if it does, that is logged loudly."""
    task = asyncio.create_task(work)
    task.add_done_callback(_log_death)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _log_death(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        logger.critical("%s died; restart the gateway", task.get_coro(), exc_info=error)


async def _wait_for_last_records(traffic: Traffic) -> None:
    """Let cancelled requests write their End before the journal closes."""
    deadline = asyncio.get_running_loop().time() + _LAST_RECORDS_SECONDS
    # Polled once in a life: an event would have to be kept on the hot path.
    while traffic.num_running and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
