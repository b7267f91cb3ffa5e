"""Spans in the conventions' words, and what is said of a collector that is away."""

import logging
import sys
from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv.attributes import (
    error_attributes,
    http_attributes,
    server_attributes,
    url_attributes,
)
from opentelemetry.trace import StatusCode

from gateway.dialects.completions import COMPLETIONS
from gateway.http.reply import Reply
from gateway.inference.order import Order, make_order
from gateway.policy.fields import Asked
from gateway.tracing.collector import SaidOnce
from gateway.tracing.setup import make_tracing
from gateway.tracing.spans import SpanTracing
from gateway.tracing.trace import Trace, Tracing
from monitoring.metrics import Metrics
from serving.errors import ConfigurationError, EngineError
from serving.ids import Signer
from serving.routing.catalog import Alias, Principal, Release
from serving.routing.choose import Choice
from serving.settings import Settings
from serving.types import Arm, InferenceStatus, Role, Task
from tests.wire import KeptWire

CHAMPION = Release(id=1, number=2, pool="default", adapter="support-v1-aaaaaaaa")
ALIAS = Alias(id=1, tenant="acme", name="support", task=Task.CHAT, champion=CHAMPION)
CHOICE = Choice(pool="default", arm=Arm.CHAMPION, propensity=1, alias=ALIAS, release=CHAMPION)


def an_order() -> Order:
    """Return a streamed completion of an alias, as its champion gets it."""
    return make_order(
        signer=Signer({1: b"k" * 32}),
        pool=Settings().pool("default"),
        endpoint=COMPLETIONS,
        principal=Principal(key_id="k", tenant="acme", role=Role.APP),
        asked=Asked(
            model="support", fields={"prompt": "a", "stream": True}, ignored=(), subject=None
        ),
        choice=CHOICE,
        conversation=None,
    )


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    """Holds the spans that have ended."""
    return InMemorySpanExporter()


@pytest.fixture
def tracing(exporter: InMemorySpanExporter) -> SpanTracing:
    """Makes spans, and has each exported as it ends."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return SpanTracing(provider, Settings())


def tell(tracing: Tracing, headers: dict[bytes, bytes]) -> None:
    """Tell of a request whose first engine goes away, and whose second answers and then breaks."""
    with tracing.begin(COMPLETIONS, headers, Reply(KeptWire().exchange)) as trace:
        trace.ordered(an_order())
        with trace.call("http://a:1"):
            trace.call_failed("engine_went_away")
        with pytest.raises(EngineError):
            break_off(trace)
        trace.ended(InferenceStatus.UPSTREAM_ERROR)
        trace.failed("engine_error")


def break_off(trace: Trace) -> None:
    """Tell of a call that breaks after its first token."""
    with trace.call("https://b"):
        trace.call_answered(200)
        trace.saw_first_token(0.01)
        trace.used_tokens(7, 3)
        raise EngineError("It broke.")


def test_every_name_is_the_conventions_or_ours(
    tracing: SpanTracing, exporter: InMemorySpanExporter
) -> None:
    """No attribute is invented outside `strop.`; the operation is one of those that they know."""
    known = {
        value
        for module in (
            gen_ai_attributes,
            error_attributes,
            http_attributes,
            server_attributes,
            url_attributes,
        )
        for name, value in vars(module).items()
        if name.isupper()
    }
    tell(tracing, {})
    spans = exporter.get_finished_spans()
    used = {name for span in spans for name in span.attributes or {}}
    assert {name for name in used if not name.startswith("strop.")} <= known
    assert {name for name in used if name.startswith("strop.")} == {
        "strop.alias",
        "strop.arm",
        "strop.inference_id",
        "strop.release",
        "strop.status",
        "strop.tenant",
    }
    operations = {value.value for value in gen_ai_attributes.GenAiOperationNameValues}
    assert {(span.attributes or {}).get("gen_ai.operation.name") for span in spans} <= operations


def test_calls_stand_under_their_request(
    tracing: SpanTracing, exporter: InMemorySpanExporter
) -> None:
    """Each with its replica and its own fault; a port that is not named is that of its scheme."""
    tell(tracing, {})
    first, second, request = exporter.get_finished_spans()
    assert request.context is not None
    assert [call.parent for call in (first, second)] == [request.context] * 2
    assert [(call.attributes or {})["server.port"] for call in (first, second)] == [1, 443]
    assert [(call.attributes or {})["error.type"] for call in (first, second)] == [
        "engine_went_away",
        "engine_error",
    ]
    assert {span.status.status_code for span in (first, second, request)} == {StatusCode.ERROR}


@pytest.mark.parametrize(
    ("given", "is_taken"),
    [
        (b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", True),
        (b"00-00000000000000000000000000000000-b7ad6b7169203331-01", False),
        (b"\xff" * 1000, False),
        (b"", False),
    ],
)
def test_a_client_may_name_its_trace(
    tracing: SpanTracing, exporter: InMemorySpanExporter, given: bytes, is_taken: bool
) -> None:
    """What is no `traceparent` begins a trace of its own; a `tracestate` is left behind."""
    tell(tracing, {b"traceparent": given, b"tracestate": b"vendor=secret"})
    *_, request = exporter.get_finished_spans()
    assert (request.parent is not None) == is_taken
    assert request.context is not None
    assert not request.context.trace_state


def test_a_trace_that_is_not_sampled_makes_no_spans(
    tracing: SpanTracing, exporter: InMemorySpanExporter
) -> None:
    """The client's flag says so, and the engine is told the same."""
    given = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
    with tracing.begin(COMPLETIONS, {b"traceparent": given}, Reply(KeptWire().exchange)) as trace:
        trace.ordered(an_order())
        with trace.call("http://a:1"):
            assert trace.headers["traceparent"].endswith("-00")
            assert trace.headers["traceparent"][3:35] == given[3:35].decode()
    assert exporter.get_finished_spans() == ()


def test_without_a_collector_nothing_is_kept() -> None:
    """The same is told to something that forgets it, and nobody is told of a trace."""
    tracing = make_tracing(Settings(), Metrics())
    tell(tracing, {b"traceparent": b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"})
    assert tracing.begin(COMPLETIONS, {}, Reply(KeptWire().exchange)).headers == {}


def test_without_opentelemetry_the_mend_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that was told of a collector and cannot send there does not start."""
    monkeypatch.setitem(sys.modules, "gateway.tracing.collector", None)
    settings = Settings.model_validate({"gateway": {"otlp_endpoint": "http://127.0.0.1:4318"}})
    with pytest.raises(ConfigurationError, match=r"pip install 'strop\[otel\]'"):
        make_tracing(settings, Metrics())


class Collector(SpanExporter):
    """Takes spans, or does not."""

    def __init__(self) -> None:
        self.is_there = True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Say whether they were taken."""
        return SpanExportResult.SUCCESS if self.is_there else SpanExportResult.FAILURE


def test_a_collector_that_is_away_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """Once per outage, and once that it is over; each batch that was lost is counted."""
    caplog.set_level(logging.INFO)
    collector, metrics = Collector(), Metrics()
    exporter = SaidOnce(collector, "collector:4318", metrics)
    for is_there in (True, False, False, True, True, False):
        collector.is_there = is_there
        exporter.export([])
    told = [record for record in caplog.records if record.name == "strop.gateway"]
    assert [record.levelname for record in told] == ["WARNING", "INFO", "WARNING"]
    assert all("collector:4318" in record.getMessage() for record in told)
    assert 'strop_failures_total{where="tracing"} 3.0' in metrics.render().decode()
