"""Prometheus metrics of who ingests a journal: `strop worker`, or the sidecar of a gateway's pod."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from serving.errors import ConfigurationError
from serving.journal.ingest import IngestReport
from serving.sections import WorkerSettings


class IngestMetrics:
    """What the passes of one process came to, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._records = self._counter("records", "Journal records read.")
        self._unmatched = self._counter("unmatched", "Ends without an inference that waits.")
        self._rejected = self._counter("rejected", "Records that no row could be made of.")
        self._interrupted = self._counter("interrupted", "Inferences whose worker died.")
        self._damaged = self._counter("damaged_segments", "Segments that were set aside.")
        self._torn = self._counter("torn_bytes", "Bytes that a dying worker left behind.")
        self._lag = self._gauge("lag_seconds", "Age of the oldest record when it was stored.")
        self._unread = self._gauge("unread_bytes", "Journal left unread by the last pass.")
        self._passed_at = self._gauge("last_pass_timestamp_seconds", "End of the last whole pass.")

    def saw(self, report: IngestReport) -> None:
        """Count a pass. One that did not run, because another process makes one, says nothing."""
        if not report.has_run:
            return
        self._records.inc(report.num_records)
        self._unmatched.inc(report.num_unmatched)
        self._rejected.inc(report.num_rejected)
        self._interrupted.inc(report.num_interrupted)
        self._damaged.inc(report.num_damaged)
        self._torn.inc(report.num_torn_bytes)
        self._lag.set(report.lag_seconds)
        self._unread.set(report.num_lag_bytes)
        self._passed_at.set(time.time())

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(f"strop_ingest_{name}", text, registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"strop_ingest_{name}", text, registry=self.registry)


@contextmanager
def serving_metrics(metrics: IngestMetrics, worker: WorkerSettings) -> Iterator[None]:
    """Answer /metrics from a thread while the block runs, if the settings name a port.

    Raises:
        ConfigurationError: the port cannot be had.
    """
    if worker.metrics_port is None:
        yield
        return
    address = worker.metrics_host, worker.metrics_port
    try:
        server, thread = start_http_server(address[1], address[0], metrics.registry)
    except OSError as error:
        raise ConfigurationError(
            f"The worker cannot answer /metrics on {address[0]}:{address[1]}: {error.strerror}. "
            "Set worker.metrics_port to another port."
        ) from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
