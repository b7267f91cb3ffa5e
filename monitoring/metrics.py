"""Prometheus metrics, prefix `strop_`: built, not global, and right with several workers.

With PROMETHEUS_MULTIPROC_DIR set, each worker writes files there and any worker's /metrics adds
all of them up; the variable has to be set before prometheus_client is first imported.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from serving.types import InferenceStatus

MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

_SERVED = ("alias", "release", "arm")
_FIRST_TOKEN = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_INTER_TOKEN = (0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 5)
_END_TO_END = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


@dataclass(frozen=True, slots=True)
class Served:
    """What answered, as labels. `release` is "-" where the base was called by its own name."""

    alias: str
    release: str
    arm: str

    @property
    def labels(self) -> tuple[str, str, str]:
        """The values in the metrics' order."""
        return self.alias, self.release, self.arm


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
        self._end_to_end = self._seconds("end_to_end", "From request to last byte.", _END_TO_END)
        self._errors = self._counter("errors", "Errors answered to clients.", ("code",))
        self._feedback = self._counter("feedback", "Ratings accepted.", ("rating",))
        self._failures = self._counter("failures", "Caught, logged, gone on.", ("where",))
        self._in_flight = Gauge(
            "strop_in_flight",
            "Requests now at an engine.",
            ("pool",),
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self._queued = Gauge(
            "strop_queued",
            "Requests that wait for room at an engine.",
            ("pool",),
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self._shed = self._counter("shed", "Requests sent away for want of room.", ("pool", "why"))
        self._journal_bytes = Gauge(
            "strop_journal_bytes",
            "Journal that is not ingested yet.",
            registry=self.registry,
            multiprocess_mode="mostrecent",
        )

    def started(self, pool: str) -> None:
        """Count a request that goes to an engine."""
        self._in_flight.labels(pool).inc()

    def ended(
        self, served: Served, pool: str, status: InferenceStatus, end_to_end_seconds: float
    ) -> None:
        """Count a request that is over, however it ended."""
        self._in_flight.labels(pool).dec()
        self._requests.labels(*served.labels, status.value).inc()
        self._end_to_end.labels(*served.labels).observe(end_to_end_seconds)

    def saw_first_token(self, served: Served, seconds: float) -> None:
        """Record how long a stream's first event took."""
        self._first_token.labels(*served.labels).observe(seconds)

    def saw_gap(self, served: Served, seconds: float) -> None:
        """Record the time between two events of a stream."""
        self._inter_token.labels(*served.labels).observe(seconds)

    def used_tokens(self, served: Served, prompt: int, completion: int) -> None:
        """Count tokens in and out."""
        self._tokens.labels(*served.labels, "prompt").inc(prompt)
        self._tokens.labels(*served.labels, "completion").inc(completion)

    def cost(self, served: Served, amount: float) -> None:
        """Count what an inference cost, in the currency of `price_per_gpu_hour`."""
        self._cost.labels(*served.labels).inc(amount)

    def answered_error(self, code: str) -> None:
        """Count an error that a client got."""
        self._errors.labels(code).inc()

    def took_feedback(self, rating: str) -> None:
        """Count an accepted rating."""
        self._feedback.labels(rating).inc()

    def set_queued(self, pool: str, num_waiting: int) -> None:
        """Say how many requests wait for an engine of a pool."""
        self._queued.labels(pool).set(num_waiting)

    def shed(self, pool: str, why: str) -> None:
        """Count a request that was sent away because no engine of a pool had room."""
        self._shed.labels(pool, why).inc()

    def failed(self, where: str) -> None:
        """Count an error that was logged and survived."""
        self._failures.labels(where).inc()

    def set_journal_bytes(self, num_bytes: int) -> None:
        """Say how much journal waits for ingest."""
        self._journal_bytes.set(num_bytes)

    def render(self) -> bytes:
        """Return the exposition text: of all workers, where there are several."""
        if MULTIPROCESS_VARIABLE not in os.environ:
            return generate_latest(self.registry)
        everyone = CollectorRegistry()
        MultiProcessCollector(everyone)  # type: ignore[no-untyped-call] # it has no annotations
        return generate_latest(everyone)

    def _counter(self, name: str, text: str, labels: tuple[str, ...]) -> Counter:
        return Counter(f"strop_{name}", text, labels, registry=self.registry)

    def _seconds(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(
            f"strop_{name}_seconds", text, _SERVED, registry=self.registry, buckets=buckets
        )


def forget_dead_processes(folder: Path) -> None:
    """Take killed workers out of the gauges: what they had in flight is gone."""
    for path in folder.glob("gauge_live*_*.db"):
        pid = int(path.stem.rpartition("_")[2])
        if not Path(f"/proc/{pid}").exists():
            mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call] # likewise
