"""What a worker looks up for /metrics: how the replicas fare, and the journal."""

import asyncio
from collections.abc import Mapping

from gateway.inference.dispatch import Dispatcher
from monitoring.metrics import Metrics, ReplicaState
from serving.fleet.engine import Engine
from serving.fleet.proof import Prover
from serving.journal.health import look_at
from serving.journal.segments import count_bytes
from serving.settings import Settings


class Gauges:
    """Sets the gauges that no request sets.

    Attributes:
        ingested: name of a segment -> its bytes in the database, as of when that was last reached.
            While it is away nothing is ingested, so what was known then stays true.
    """

    def __init__(
        self,
        settings: Settings,
        engines: Mapping[str, tuple[Engine, ...]],
        prover: Prover,
        dispatcher: Dispatcher,
        metrics: Metrics,
    ) -> None:
        self.ingested: Mapping[str, int] = {}
        self._journal_dir = settings.journal_dir
        self._engines = engines
        self._prover = prover
        self._dispatcher = dispatcher
        self._metrics = metrics

    def show_replicas(self) -> None:
        """Set what this worker knows of each replica. To be called often: others are asked, too."""
        for pool, engines in self._engines.items():
            healthy = self._prover.replicas_for(pool, None)
            for place, engine in enumerate(engines):
                state = ReplicaState(
                    pool=pool,
                    replica=str(place),
                    is_healthy=engine.url in healthy,
                    is_ejected=self._dispatcher.is_ejected(engine.url),
                    num_in_flight=self._dispatcher.load_of(engine.url),
                )
                self._metrics.saw_replica(state)

    async def show_journal(self) -> None:
        """Look at the journal's folder, in a thread: it may hold many segments.

        Raises:
            OSError: the folder cannot be read.
        """
        num_bytes = await asyncio.to_thread(count_bytes, self._journal_dir)
        health = await asyncio.to_thread(look_at, self._journal_dir, self.ingested)
        self._metrics.saw_journal(num_bytes, health.num_unread_bytes, health.lag_seconds)
