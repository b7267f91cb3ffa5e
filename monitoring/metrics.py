"""Prometheus metrics, prefix `strop_`: built, not global, and right with several workers.

With PROMETHEUS_MULTIPROC_DIR set, each worker writes files there and any worker's /metrics adds
all of them up; the variable has to be set before prometheus_client is first imported.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.multiprocess import MultiProcessCollector

from serving.types import InferenceStatus

MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

_SERVED = ("tenant", "alias", "release", "arm")
_REPLICA = ("pool", "replica")
_FIRST_TOKEN = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_INTER_TOKEN = (0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 5)
_QUEUE = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_END_TO_END = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)

_Metric = TypeVar("_Metric", bound=MetricWrapperBase)
_Mode = Literal["livesum", "livemin", "livemax", "mostrecent"]


class Served(msgspec.Struct, frozen=True):
    """What answered, as labels. All of them are operators' words: no caller can make a series."""

    tenant: str
    """Whose alias it is; "-", and `release` likewise, where a base was called by its own name."""
    alias: str
    release: str
    arm: str

    @property
    def labels(self) -> tuple[str, str, str, str]:
        """The values in the metrics' order."""
        return self.tenant, self.alias, self.release, self.arm


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaState:
    """What one gateway worker makes of a replica."""

    pool: str
    replica: str
    """Its place among the pool's: everybody may read metrics, and URLs are nobody's business."""
    is_healthy: bool
    is_ejected: bool
    num_in_flight: int


class _Series(dict[tuple[str, ...], _Metric]):
    """A metric's series by their labels.

    `labels` of prometheus_client makes strings and takes a lock each time; this is for every token.
    """

    def __init__(self, metric: _Metric) -> None:
        super().__init__()
        self._metric = metric

    def __missing__(self, labels: tuple[str, ...]) -> _Metric:
        series = self[labels] = self._metric.labels(*labels)
        return series


class Metrics:
    """Every metric of a gateway worker, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = self._counter("requests", "Inferences ended.", (*_SERVED, "status"))
        self._tokens = self._counter(
            "tokens", "Tokens, as the engine counts them.", (*_SERVED, "direction")
        )
        self._cost = self._counter("cost", "Share of replicas' hours, at their price.", _SERVED)
        self._first_token = self._seconds("first_token", "Until a stream's first.", _FIRST_TOKEN)
        self._inter_token = self._seconds("inter_token", "Between two events.", _INTER_TOKEN)
        self._end_to_end = self._seconds(
            "end_to_end", "From request to last byte.", _END_TO_END, (*_SERVED, "status")
        )
        self._errors = self._counter("errors", "Errors answered to clients.", ("code",))
        self._feedback = self._counter("feedback", "Ratings accepted.", ("rating",))
        self._failures = self._counter("failures", "Caught, logged, gone on.", ("where",))
        self._in_flight = self._sum("in_flight", "Requests under way.", (*_SERVED, "pool"))
        self._queued = self._sum("queued", "Requests that wait for room.", (*_SERVED, "pool"))
        self._queue = self._seconds("queue", "Spent waiting for room.", _QUEUE)
        self._shed = self._counter("shed", "Requests sent away for want of room.", ("pool", "why"))
        self._healthy = _Series(
            self._gauge("replica_healthy", "Found so by all.", _REPLICA, "livemin")
        )
        self._ejected = _Series(
            self._gauge("replica_ejected", "Found so by any.", _REPLICA, "livemax")
        )
        self._at_replica = self._sum("replica_in_flight", "Requests there now.", _REPLICA)
        self._journal_bytes = self._newest("journal_bytes", "Size of the journal's segments.")
        self._journal_unread = self._newest("journal_unread_bytes", "Not in the database yet.")
        self._journal_lag = self._newest("journal_lag_seconds", "Age of the oldest of those.")

    def started(self, served: Served, pool: str) -> None:
        """Count a request that begins."""
        self._in_flight[*served.labels, pool].inc()

    def ended(
        self, served: Served, pool: str, status: InferenceStatus, end_to_end_seconds: float
    ) -> None:
        """Count a request that is over, however it ended."""
        self._in_flight[*served.labels, pool].dec()
        self._requests[*served.labels, status.value].inc()
        self._end_to_end[*served.labels, status.value].observe(end_to_end_seconds)

    def saw_first_token(self, served: Served, seconds: float) -> None:
        """Record how long a stream's first event took."""
        self._first_token[served.labels].observe(seconds)

    def saw_gap(self, served: Served, seconds: float) -> None:
        """Record the time between two events of a stream."""
        self._inter_token[served.labels].observe(seconds)

    def used_tokens(self, served: Served, prompt: int, completion: int) -> None:
        """Count tokens in and out."""
        self._tokens[*served.labels, "prompt"].inc(prompt)
        self._tokens[*served.labels, "completion"].inc(completion)

    def cost(self, served: Served, amount: float) -> None:
        """Count what an inference cost, in the currency of `price_per_gpu_hour`."""
        self._cost[served.labels].inc(amount)

    def answered_error(self, code: str) -> None:
        """Count an error that a client got."""
        self._errors[(code,)].inc()

    def took_feedback(self, rating: str) -> None:
        """Count an accepted rating."""
        self._feedback[(rating,)].inc()

    @contextmanager
    def queueing(self, served: Served, pool: str) -> Iterator[None]:
        """Count a request as waiting for room while the block runs."""
        began_at = time.monotonic()
        with self._queued[*served.labels, pool].track_inprogress():
            try:
                yield
            finally:
                self._queue[served.labels].observe(time.monotonic() - began_at)

    def shed(self, pool: str, why: str) -> None:
        """Count a request that was sent away because no engine of a pool had room."""
        self._shed[pool, why].inc()

    def failed(self, where: str) -> None:
        """Count an error that was logged and survived."""
        self._failures[(where,)].inc()

    def saw_replica(self, state: ReplicaState) -> None:
        """Say how a replica fares, as this worker sees it."""
        labels = state.pool, state.replica
        self._healthy[labels].set(state.is_healthy)
        self._ejected[labels].set(state.is_ejected)
        self._at_replica[labels].set(state.num_in_flight)

    def saw_journal(self, num_bytes: int, num_unread_bytes: int, lag_seconds: float) -> None:
        """Say how the journal fares, which all workers of a host share."""
        self._journal_bytes.set(num_bytes)
        self._journal_unread.set(num_unread_bytes)
        self._journal_lag.set(lag_seconds)

    def render(self) -> bytes:
        """Return the exposition text: of all workers, where there are several."""
        folder = os.environ.get(MULTIPROCESS_VARIABLE)
        if folder is None:
            return generate_latest(self.registry)
        _forget_the_dead(Path(folder))
        everyone = CollectorRegistry()
        MultiProcessCollector(everyone)  # type: ignore[no-untyped-call] # it has no annotations
        return generate_latest(everyone)

    def _counter(self, name: str, text: str, labels: tuple[str, ...]) -> _Series[Counter]:
        return _Series(Counter(f"strop_{name}", text, labels, registry=self.registry))

    def _seconds(
        self,
        name: str,
        text: str,
        buckets: tuple[float, ...],
        labels: tuple[str, ...] = _SERVED,
    ) -> _Series[Histogram]:
        return _Series(
            Histogram(
                f"strop_{name}_seconds", text, labels, registry=self.registry, buckets=buckets
            )
        )

    def _sum(self, name: str, text: str, labels: tuple[str, ...]) -> _Series[Gauge]:
        """Make a gauge that is what the living workers have together."""
        return _Series(self._gauge(name, text, labels, "livesum"))

    def _newest(self, name: str, text: str) -> Gauge:
        """Make a gauge of what all workers see alike: whoever looked last knows."""
        return self._gauge(name, text, (), "mostrecent")

    def _gauge(self, name: str, text: str, labels: tuple[str, ...], mode: _Mode) -> Gauge:
        return Gauge(f"strop_{name}", text, labels, registry=self.registry, multiprocess_mode=mode)


def _forget_the_dead(folder: Path) -> None:
    """Take dead workers out of the gauges of the living: what they had in flight is gone."""
    for path in folder.glob("gauge_live*_*.db"):
        pid = int(path.stem.rpartition("_")[2])
        if not Path(f"/proc/{pid}").exists():
            path.unlink(missing_ok=True)  # another worker may be at it, too
