"""Who traces: spans where a collector is configured, else nobody."""

from gateway.tracing.trace import Tracing
from monitoring.metrics import Metrics
from serving.errors import ConfigurationError
from serving.settings import Settings


def make_tracing(settings: Settings, metrics: Metrics) -> Tracing:
    """Return what traces this worker's requests, if a collector is configured.

    Raises:
        ConfigurationError: OpenTelemetry is not installed.
    """
    endpoint = settings.gateway.otlp_endpoint
    if not endpoint:
        return Tracing()
    try:
        from gateway.tracing.collector import make_provider
        from gateway.tracing.spans import SpanTracing
    except ImportError as error:
        raise ConfigurationError(
            "gateway.otlp_endpoint is set, and OpenTelemetry is not installed: "
            "pip install 'strop[otel]'."
        ) from error
    return SpanTracing(make_provider(endpoint, metrics), settings)
