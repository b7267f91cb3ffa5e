"""What this worker says of itself, once a second: others unload adapters on the strength of it."""

import asyncio
import logging
import os
import socket
from typing import Final

from gateway.follow import DATABASE_ERRORS, Follower
from gateway.gauges import Gauges
from gateway.inference.traffic import Traffic
from monitoring.metrics import Metrics
from serving.fleet.proof import Prover
from serving.journal.health import read_ingested
from serving.store.database import Database
from serving.store.tables import GatewayWorker, utc_now
from serving.store.workers import remove_worker, report_worker

logger = logging.getLogger("strop.gateway")

_BEAT_SECONDS: Final = 1.0
_WRITE_SECONDS: Final = 5.0


class Heartbeat:
    """Writes this worker's row until it is cancelled."""

    def __init__(
        self,
        worker_id: str,
        database: Database,
        follower: Follower,
        prover: Prover,
        traffic: Traffic,
        metrics: Metrics,
        gauges: Gauges,
    ) -> None:
        self._worker_id = worker_id
        self._database = database
        self._follower = follower
        self._prover = prover
        self._traffic = traffic
        self._metrics = metrics
        self._gauges = gauges
        self._started_at = utc_now()

    async def run(self) -> None:
        """Beat until cancelled; a database that is down is logged once per outage."""
        was_down = False
        while True:
            try:
                await self.beat()
                was_down = False
            except DATABASE_ERRORS as error:
                if not was_down:
                    logger.warning("The heartbeat does not reach the database: %r", error)
                was_down = True
                self._metrics.failed("heartbeat")
            except Exception:
                logger.exception("The heartbeat failed")
                self._metrics.failed("heartbeat")
            await asyncio.sleep(_BEAT_SECONDS)
            self._gauges.show_replicas()

    async def beat(self) -> None:
        """Write the row once, and read how far the journal is in the database."""
        async with asyncio.timeout(_WRITE_SECONDS), self._database.session() as session:
            await report_worker(session, self._row())
            self._gauges.ingested = await read_ingested(session)

    async def stop(self) -> None:
        """Take the row away: nobody has to wait for a worker that ended in good order."""
        try:
            async with asyncio.timeout(_WRITE_SECONDS), self._database.session() as session:
                await remove_worker(session, self._worker_id)
        except DATABASE_ERRORS as error:
            logger.warning("The worker's row stays until it is old: %r", error)

    def _row(self) -> GatewayWorker:
        # The revision first, then what runs: a request counted here was chosen by it or before.
        return GatewayWorker(
            id=self._worker_id,
            host=socket.gethostname(),
            pid=os.getpid(),
            revision=self._follower.catalog.revision,
            in_flight=self._traffic.per_adapter,
            proved=self._prover.book.proved,
            started_at=self._started_at,
        )
