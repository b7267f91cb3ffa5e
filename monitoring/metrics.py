"""Prometheus metrics, prefix `strop_`: built, not global, and right with several workers.

What is counted for every request is told to a `ServedMetrics` and seen by Prometheus at the next
`publish`: at once where this worker renders, within a second where another one does.

With PROMETHEUS_MULTIPROC_DIR set, each worker writes files there and any worker's /metrics adds
all of them up; the variable has to be set before prometheus_client is first imported.
"""

import asyncio
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry, generate_latest

from monitoring.series import Count, Durations, Families, Level
from monitoring.several import render_all, tidy
from serving.types import InferenceStatus

logger = logging.getLogger("strop.monitoring")

MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

_PUBLISH_SECONDS: Final = 1.0
_SERVED = ("tenant", "alias", "release", "arm")
_REPLICA = ("pool", "replica")
_FIRST_TOKEN = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_INTER_TOKEN = (0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 5)
_QUEUE = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_END_TO_END = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Served(msgspec.Struct, frozen=True):
    """What answered, as labels. All of them are operators' words: no caller can make a series."""

    tenant: str
    """Whose alias it is; "-", and `release` likewise, where a base was called by its own name."""
    alias: str
    release: str
    arm: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaState:
    """What one gateway worker makes of a replica."""

    pool: str
    replica: str
    """Its place among the pool's: everybody may read metrics, and URLs are nobody's business."""
    is_healthy: bool
    is_ejected: bool
    num_in_flight: int


class _ServedFamilies:
    """The metrics that are told per what answered."""

    def __init__(self, make: Families) -> None:
        self.requests = make.counter("requests", "Inferences ended.", (*_SERVED, "status"))
        self.tokens = make.counter(
            "tokens", "Tokens, as the engine counts them.", (*_SERVED, "direction")
        )
        self.cost = make.counter("cost", "Share of replicas' hours, at their price.", _SERVED)
        self.first_token = make.seconds(
            "first_token", "Until a stream's first.", _FIRST_TOKEN, _SERVED
        )
        self.inter_token = make.seconds("inter_token", "Between two events.", _INTER_TOKEN, _SERVED)
        self.end_to_end = make.seconds(
            "end_to_end", "From request to last byte.", _END_TO_END, (*_SERVED, "status")
        )
        self.in_flight = make.sum("in_flight", "Requests under way.", (*_SERVED, "pool"))
        self.queued = make.sum("queued", "Requests that wait for room.", (*_SERVED, "pool"))
        self.queue = make.seconds("queue", "Spent waiting for room.", _QUEUE, _SERVED)


class ServedMetrics:
    """What is told of the requests that one release answers in one pool, as one arm.

    Not for use from several threads.
    """

    def __init__(self, families: _ServedFamilies, served: Served, pool: str) -> None:
        labels = msgspec.structs.astuple(served)
        self._in_flight = Level(families.in_flight, *labels, pool)
        self._queued = Level(families.queued, *labels, pool)
        self._queue = Durations(families.queue, *labels)
        self._first_token = Durations(families.first_token, *labels)
        self._gaps = Durations(families.inter_token, *labels)
        self.saw_first_token = self._first_token.add
        """Records how long a stream's first event took, in seconds."""
        self.saw_gap = self._gaps.add
        """Records the time between two events of a stream, in seconds."""
        self._prompt = Count(families.tokens, *labels, "prompt")
        self._completion = Count(families.tokens, *labels, "completion")
        self._cost = Count(families.cost, *labels)
        self._ended = {
            status: (
                Count(families.requests, *labels, status.value),
                Durations(families.end_to_end, *labels, status.value),
            )
            for status in InferenceStatus
        }

    def started(self) -> None:
        """Count a request that begins."""
        self._in_flight.amount += 1

    def ended(self, status: InferenceStatus, end_to_end_seconds: float) -> None:
        """Count a request that is over, however it ended."""
        self._in_flight.amount -= 1
        count, durations = self._ended[status]
        count.amount += 1
        durations.add(end_to_end_seconds)

    def used_tokens(self, prompt: int, completion: int) -> None:
        """Count tokens in and out."""
        self._prompt.amount += prompt
        self._completion.amount += completion

    def cost(self, amount: float) -> None:
        """Count what an inference cost, in the currency of `price_per_gpu_hour`."""
        self._cost.amount += amount

    @contextmanager
    def queueing(self) -> Iterator[None]:
        """Count a request as waiting for room while the block runs."""
        began_at = time.monotonic()
        self._queued.amount += 1
        try:
            yield
        finally:
            self._queued.amount -= 1
            self._queue.add(time.monotonic() - began_at)

    def publish(self) -> None:
        """Hand on what is new."""
        for tally in (
            self._in_flight,
            self._queued,
            self._queue,
            self._first_token,
            self._gaps,
            self._prompt,
            self._completion,
            self._cost,
        ):
            tally.publish()
        for count, durations in self._ended.values():
            count.publish()
            durations.publish()


class Metrics:
    """Every metric of a gateway worker, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        make = Families(self.registry)
        self._families = _ServedFamilies(make)
        self._served: dict[tuple[Served, str], ServedMetrics] = {}
        self._errors = make.counter("errors", "Errors answered to clients.", ("code",))
        self._feedback = make.counter("feedback", "Ratings accepted.", ("rating",))
        self._failures = make.counter("failures", "Caught, logged, gone on.", ("where",))
        self._shed = make.counter("shed", "Requests sent away for want of room.", ("pool", "why"))
        self._healthy = make.gauge("replica_healthy", "Found so by all.", _REPLICA, "livemin")
        self._ejected = make.gauge("replica_ejected", "Found so by any.", _REPLICA, "livemax")
        self._at_replica = make.sum("replica_in_flight", "Requests there now.", _REPLICA)
        self._journal_bytes = make.newest("journal_bytes", "Size of the journal's segments.")
        self._journal_unread = make.newest("journal_unread_bytes", "Not in the database yet.")
        self._journal_lag = make.newest("journal_lag_seconds", "Age of the oldest of those.")

    def of(self, served: Served, pool: str) -> ServedMetrics:
        """Return what is told of the requests that `served` answers in a pool. Keep it."""
        found = self._served.get((served, pool))
        if found is None:
            found = self._served[served, pool] = ServedMetrics(self._families, served, pool)
        return found

    async def run(self) -> None:
        """Publish until cancelled: other workers answer for this one, too, and for those before it."""
        if folder := _shared_folder():
            await asyncio.to_thread(tidy, folder)
        while True:
            await asyncio.sleep(_PUBLISH_SECONDS)
            try:
                self.publish()
            except OSError:  # a full disk, where workers share files: nobody is served worse for it
                logger.exception("Metrics could not be handed on; the next try is in a second")

    def publish(self) -> None:
        """Hand on what was told of requests since the last time."""
        for served in self._served.values():
            served.publish()

    def answered_error(self, code: str) -> None:
        """Count an error that a client got."""
        self._errors[(code,)].inc()

    def took_feedback(self, rating: str) -> None:
        """Count an accepted rating."""
        self._feedback[(rating,)].inc()

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
        self.publish()
        return self._render()

    async def render_aside(self) -> bytes:
        """Return the same; with many series it takes a while, in which others are served."""
        self.publish()
        return await asyncio.to_thread(self._render)

    def _render(self) -> bytes:
        folder = _shared_folder()
        return render_all(folder) if folder else generate_latest(self.registry)


def _shared_folder() -> Path | None:
    folder = os.environ.get(MULTIPROCESS_VARIABLE)
    return Path(folder) if folder else None
