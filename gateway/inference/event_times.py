"""When the events of one stream came."""

import time

from gateway.tracing.trace import Trace
from monitoring.metrics import ServedMetrics


class EventTimes:
    """Times events as they come: the first, and the gaps since.

    Args:
        begun_at: when the request began, on the monotonic clock.
        metrics: told of each.
        trace: told of the first.
    """

    __slots__ = (
        "_begun_at",
        "_first_at",
        "_last_at",
        "_max_gap",
        "_metrics",
        "_saw_gap",
        "_trace",
        "num_arrivals",
    )

    def __init__(self, begun_at: float, metrics: ServedMetrics, trace: Trace) -> None:
        self.num_arrivals = 0
        """Times at which some came: several at once are one."""
        self._begun_at = begun_at
        self._metrics = metrics
        self._trace = trace
        self._saw_gap = metrics.saw_gap
        self._first_at = 0.0
        self._last_at = 0.0
        self._max_gap = 0.0

    def add(self) -> None:
        """Note that one has just come."""
        now = time.monotonic()
        if self.num_arrivals:
            gap = now - self._last_at
            if gap > self._max_gap:
                self._max_gap = gap
            self._saw_gap(gap)
        else:
            self._first_at = now
            self._metrics.saw_first_token(now - self._begun_at)
            self._trace.saw_first_token(now - self._begun_at)
        self._last_at = now
        self.num_arrivals += 1

    @property
    def first_ms(self) -> float | None:
        """How long the first took, from the request's beginning."""
        return (self._first_at - self._begun_at) * 1000 if self.num_arrivals else None

    @property
    def mean_gap_ms(self) -> float | None:
        """The mean time between two."""
        if self.num_arrivals < 2:
            return None
        return (self._last_at - self._first_at) / (self.num_arrivals - 1) * 1000

    @property
    def max_gap_ms(self) -> float | None:
        """The longest time between two."""
        return self._max_gap * 1000 if self.num_arrivals > 1 else None
