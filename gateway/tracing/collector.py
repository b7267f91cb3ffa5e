"""Where spans go: to a collector, in batches, from a thread of their own.

OpenTelemetry's own variables hold here too: OTEL_TRACES_SAMPLER, OTEL_EXPORTER_OTLP_HEADERS,
OTEL_BSP_SCHEDULE_DELAY and the like.
"""

import logging
import threading
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from monitoring.metrics import Metrics

logger = logging.getLogger("strop.gateway")

_LAST_SECONDS: Final = 2.0


def make_provider(endpoint: str, metrics: Metrics) -> TracerProvider:
    """Return what makes spans and has them sent.

    A request's own part of that is to put its spans in a queue. Where nobody takes them it fills
    up, and then the oldest go.

    Args:
        endpoint: of a collector that speaks OTLP over HTTP, without /v1/traces.
        metrics: told of every batch that is lost.
    """
    resource = Resource.create({"service.name": "strop-gateway"})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
    host = urlsplit(endpoint).netloc.rpartition("@")[2]
    provider.add_span_processor(Batches(SaidOnce(exporter, host, metrics)))
    return provider


class Batches(BatchSpanProcessor):
    """Collects spans and sends them, for two seconds after the end at most."""

    def shutdown(self) -> None:
        """Send what is left. The base class waits for as long as its exporter tries."""
        sending = threading.Thread(target=super().shutdown, daemon=True)
        sending.start()
        sending.join(_LAST_SECONDS)
        self.span_exporter.shutdown()


class SaidOnce(SpanExporter):
    """An exporter that says once that nobody takes its spans, and once that somebody does again."""

    def __init__(self, exporter: SpanExporter, collector: str, metrics: Metrics) -> None:
        self._exporter = exporter
        self._collector = collector
        self._metrics = metrics
        self._is_away = False
        self._is_over = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch; one that is not taken is lost."""
        result = self._exporter.export(spans)
        was_away, self._is_away = self._is_away, result is not SpanExportResult.SUCCESS
        if self._is_away:
            self._metrics.failed("tracing")
        if self._is_away and not was_away:
            logger.warning(
                "The collector at %s takes no traces: they are lost until it does", self._collector
            )
        elif was_away and not self._is_away:
            logger.info("The collector at %s takes traces again", self._collector)
        return result

    def shutdown(self) -> None:
        """Send no more, and stop trying."""
        if not self._is_over:
            self._is_over = True
            self._exporter.shutdown()
