"""What ingest came to, as Prometheus reads it, over a port of the worker's own."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from monitoring.ingest_metrics import IngestMetrics, serving_metrics
from serving.errors import ConfigurationError
from serving.journal.ingest import IngestReport, ingest
from serving.journal.records import MAGIC
from serving.sections import WorkerSettings
from serving.store.database import Database
from tests.ports import free_port


@pytest.fixture
def metrics() -> IngestMetrics:
    """Metrics that have seen nothing."""
    return IngestMetrics()


@pytest.fixture
def worker(metrics: IngestMetrics) -> Iterator[WorkerSettings]:
    """The settings of a worker whose metrics are being served."""
    worker = WorkerSettings(metrics_port=free_port())
    with serving_metrics(metrics, worker):
        yield worker


def read(worker: WorkerSettings) -> dict[str, float]:
    """Return what Prometheus would get, without what the library says of itself."""
    text = httpx.get(f"http://127.0.0.1:{worker.metrics_port}/metrics", trust_env=False).text
    lines = [line.split() for line in text.splitlines() if line.startswith("strop_")]
    return {name: float(value) for name, value in lines if not name.endswith("_created")}


async def test_what_could_not_be_stored_is_counted(
    database: Database, tmp_path: Path, metrics: IngestMetrics, worker: WorkerSettings
) -> None:
    """A damaged segment shows in the metrics of who set it aside; so does that the pass ended."""
    (tmp_path / "w-1.000001.journal").write_bytes(MAGIC + b"no frame of ours, and more of it")
    metrics.saw(await ingest(database, tmp_path))
    found = read(worker)
    assert found["strop_ingest_damaged_segments_total"] == 1
    assert found["strop_ingest_last_pass_timestamp_seconds"] > 1.7e9


def test_reports_add_up_and_lag_is_the_newest(
    metrics: IngestMetrics, worker: WorkerSettings
) -> None:
    """Counters count over passes, gauges hold the last one; a pass of somebody else says nothing."""
    metrics.saw(IngestReport(has_run=True, num_records=5, num_rejected=2, lag_seconds=9))
    metrics.saw(IngestReport(has_run=True, num_records=1, lag_seconds=0.5, num_lag_bytes=70))
    metrics.saw(IngestReport())
    found = read(worker)
    assert found["strop_ingest_records_total"] == 6
    assert found["strop_ingest_rejected_total"] == 2
    assert found["strop_ingest_lag_seconds"] == 0.5
    assert found["strop_ingest_unread_bytes"] == 70


def test_a_port_that_is_taken_is_named(metrics: IngestMetrics, worker: WorkerSettings) -> None:
    """The worker does not start half; the message says which key to set."""
    with (
        pytest.raises(ConfigurationError, match=rf"{worker.metrics_port}.*worker\.metrics_port"),
        serving_metrics(metrics, worker),
    ):
        pass
