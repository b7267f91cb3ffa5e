"""Metrics' series, named `strop_`, and tallies of those that a request changes.

prometheus_client takes a lock, asks for the process's id and packs bytes for every number that
changes: a microsecond or two, and a request changes ten, a stream two a token. So these are kept
as plain numbers, and `publish` hands on what is new, once in a while.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable
from typing import Final, Literal, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

_Metric = TypeVar("_Metric", bound=MetricWrapperBase)
_Mode = Literal["livesum", "livemin", "livemax", "mostrecent"]
_MOST_DURATIONS: Final = 100_000
"""Kept until the next `publish`: more than come in a second, and few enough should that fail."""


class Series(dict[tuple[str, ...], _Metric]):
    """A metric's series by their labels; one that nobody has asked for is not there.

    `labels` of prometheus_client makes strings and takes a lock each time.
    """

    def __init__(self, metric: _Metric) -> None:
        super().__init__()
        self.metric = metric

    def __missing__(self, labels: tuple[str, ...]) -> _Metric:
        series = self[labels] = self.metric.labels(*labels)
        return series


class Seconds(Histogram):
    """A histogram that takes many observations at once."""

    @property
    def bounds(self) -> tuple[float, ...]:
        """The buckets' upper bounds, the last one infinite."""
        return tuple(self._upper_bounds)

    def observe_all(self, counts: Iterable[int], total: float) -> None:
        """Add observations: how many in each bucket, and what they sum up to."""
        self._sum.inc(total)
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)


class Families:
    """Makes the metrics of one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def counter(self, name: str, text: str, labels: tuple[str, ...]) -> Series[Counter]:
        """Make a counter."""
        return Series(Counter(f"strop_{name}", text, labels, registry=self._registry))

    def seconds(
        self, name: str, text: str, buckets: tuple[float, ...], labels: tuple[str, ...]
    ) -> Series[Seconds]:
        """Make a histogram of durations."""
        name = f"strop_{name}_seconds"
        return Series(Seconds(name, text, labels, registry=self._registry, buckets=buckets))

    def gauge(self, name: str, text: str, labels: tuple[str, ...], mode: _Mode) -> Series[Gauge]:
        """Make a gauge; `mode`: what becomes of several workers' values."""
        return Series(
            Gauge(f"strop_{name}", text, labels, registry=self._registry, multiprocess_mode=mode)
        )

    def sum(self, name: str, text: str, labels: tuple[str, ...]) -> Series[Gauge]:
        """Make a gauge that is what the living workers have together."""
        return self.gauge(name, text, labels, "livesum")

    def newest(self, name: str, text: str) -> Gauge:
        """Make a gauge of what all workers see alike: whoever looked last knows."""
        mode: _Mode = "mostrecent"
        return Gauge(f"strop_{name}", text, registry=self._registry, multiprocess_mode=mode)


class Count:
    """What one series of a counter has to be raised by."""

    __slots__ = ("_labels", "_series", "amount")

    def __init__(self, series: Series[Counter], *labels: str) -> None:
        self.amount = 0.0
        self._series = series
        self._labels = labels

    def publish(self) -> None:
        """Hand it on."""
        if self.amount:
            self._series[self._labels].inc(self.amount)
            self.amount = 0.0


class Level:
    """What one series of a gauge has to be."""

    __slots__ = ("_labels", "_published", "_series", "amount")

    def __init__(self, series: Series[Gauge], *labels: str) -> None:
        self.amount = 0
        self._published: int | None = None
        self._series = series
        self._labels = labels

    def publish(self) -> None:
        """Hand it on."""
        if self.amount != self._published:
            self._series[self._labels].set(self.amount)
            self._published = self.amount


class Durations:
    """What one series of a histogram has still to observe."""

    __slots__ = ("_labels", "_new", "_series", "add")

    def __init__(self, series: Series[Seconds], *labels: str) -> None:
        self._series = series
        self._labels = labels
        self._new: deque[float] = deque(maxlen=_MOST_DURATIONS)
        self.add = self._new.append
        """Notes one, in seconds. Which bucket it falls into is for `publish`, many at once."""

    def publish(self) -> None:
        """Hand them on."""
        if self._new:
            durations = sorted(self._new)
            self._new.clear()
            series = self._series[self._labels]
            series.observe_all(_num_within(durations, series.bounds), sum(durations))


def _num_within(durations: list[float], bounds: tuple[float, ...]) -> list[int]:
    """Return how many of these, which are sorted, are in each bucket."""
    ends = [bisect_right(durations, bound) for bound in bounds]
    return [end - start for start, end in zip([0, *ends[:-1]], ends, strict=True)]
