"""When a stream's events came: what the record and the metrics are told."""

import pytest

from gateway.inference.event_times import EventTimes
from gateway.tracing.trace import Trace
from monitoring.metrics import Metrics, Served

BEGUN_AT = 100.0


@pytest.fixture
def metrics() -> Metrics:
    """A worker's."""
    return Metrics()


def times_of(metrics: Metrics, monkeypatch: pytest.MonkeyPatch, *nows: float) -> EventTimes:
    """Return the times of events that came just then."""
    served = metrics.of(Served(tenant="acme", alias="a", release="1", arm="champion"), "default")
    times = EventTimes(BEGUN_AT, served, Trace())
    for now in nows:
        monkeypatch.setattr("time.monotonic", lambda now=now: now)
        times.add()
    return times


def test_the_first_and_the_gaps_are_told_apart(
    metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first counts from the request's beginning, each other one from the one before."""
    times = times_of(metrics, monkeypatch, 100.5, 100.75, 101.5)
    assert (times.num_arrivals, times.first_ms) == (3, 500)
    assert (times.mean_gap_ms, times.max_gap_ms) == (500, 750)
    text = metrics.render().decode()
    labels = '{alias="a",arm="champion",release="1",tenant="acme"}'
    assert f"strop_first_token_seconds_sum{labels} 0.5" in text
    assert f"strop_inter_token_seconds_count{labels} 2.0" in text
    assert f"strop_inter_token_seconds_sum{labels} 1.0" in text


def test_what_there_was_not_has_no_time(metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer in one piece has no events, and one event has no gap."""
    none = times_of(metrics, monkeypatch)
    assert (none.num_arrivals, none.first_ms, none.mean_gap_ms, none.max_gap_ms) == (0, *[None] * 3)
    one = times_of(metrics, monkeypatch, 101)
    assert (one.num_arrivals, one.first_ms, one.mean_gap_ms, one.max_gap_ms) == (
        1,
        1000,
        None,
        None,
    )
