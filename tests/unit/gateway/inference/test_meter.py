"""Shares of a replica's time: they add up to the time in which it was busy."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.inference.meter import Meter
from gateway.quota.table import SharedTable

MS = 10**6


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[list[SharedTable]]:
    """Two workers' views of one file."""
    tables = [SharedTable(tmp_path / "limits") for _ in range(2)]
    yield tables
    for table in tables:
        table.close()


def test_two_at_once_share_evenly(tables: list[SharedTable]) -> None:
    """Of two workers: alone for 10 ms, together for 20 ms, the other alone for 5 ms; then idle."""
    now = 0
    first, second = (Meter(table, "http://a", 3.6, lambda: now) for table in tables)
    first.__enter__()
    now = 10 * MS
    second.__enter__()
    now = 30 * MS
    first.stop()
    assert first.busy_ms == 20
    now = 35 * MS
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    now = 99 * MS
    assert (first.busy_ms, second.busy_ms) == (20, 15)
    assert first.cost == pytest.approx(0.02 / 1000)  # 3.6 an hour


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.integers(0, 50), st.integers(0, 4)), max_size=40))
def test_shares_add_up(tables: list[SharedTable], steps: list[tuple[int, int]]) -> None:
    """However requests come and go, all shares are the time with at least one of them there."""
    times, busy = [0], 0
    running: dict[int, Meter] = {}
    shares = 0.0
    for pause, number in [*steps, *((7, number) for number in range(5))]:
        times.append(times[-1] + pause * MS)
        busy += pause if running else 0
        if number in running:
            meter = running.pop(number)
            meter.__exit__(None, None, None)
            shares += meter.busy_ms
        else:
            running[number] = Meter(tables[number % 2], "http://b", 1, lambda: times[-1])
            running[number].__enter__()
    for meter in running.values():
        meter.__exit__(None, None, None)
        shares += meter.busy_ms
    assert shares == pytest.approx(busy, abs=0.001)
