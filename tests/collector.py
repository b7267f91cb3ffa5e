"""A collector of traces on a real socket: takes OTLP over HTTP and reads it with OpenTelemetry's own types."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from tests.gateway import until

SERVER = trace_pb2.Span.SPAN_KIND_SERVER
CLIENT = trace_pb2.Span.SPAN_KIND_CLIENT
ERROR = trace_pb2.Status.STATUS_CODE_ERROR


@dataclass(frozen=True)
class Seen:
    """One span, as it arrived."""

    span: trace_pb2.Span

    @property
    def name(self) -> str:
        """What it is called."""
        return self.span.name

    @property
    def attributes(self) -> dict[str, Any]:
        """Name -> value."""
        return dict(map(_read, self.span.attributes))

    @property
    def events(self) -> list[str]:
        """The names of what happened in it."""
        return [event.name for event in self.span.events]

    @property
    def is_error(self) -> bool:
        """Whether it says that it failed."""
        return self.span.status.code == ERROR

    @property
    def traceparent(self) -> str:
        """What names it in a header, when it is sampled."""
        return f"00-{self.span.trace_id.hex()}-{self.span.span_id.hex()}-01"


@dataclass
class Collector:
    """What was sent so far."""

    url: str = ""
    bodies: list[bytes] = field(default_factory=list)
    status: int = 200
    services: set[str] = field(default_factory=set)
    spans: list[Seen] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        """Take one batch."""
        body = await request.read()
        if self.status == 200:
            self.bodies.append(body)
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.services.add(dict(map(_read, resource.resource.attributes))["service.name"])
                self.spans += [Seen(span) for scope in resource.scope_spans for span in scope.spans]
        return web.Response(status=self.status)

    async def trace(self) -> tuple[Seen, list[Seen]]:
        """Wait for one whole request and forget it; return its span and those of its calls."""
        await until(lambda: any(seen.span.kind == SERVER for seen in self.spans))
        (request,) = (seen for seen in self.spans if seen.span.kind == SERVER)
        calls = [seen for seen in self.spans if seen.span.kind == CLIENT]
        assert {call.span.parent_span_id for call in calls} <= {request.span.span_id}
        assert {call.span.trace_id for call in calls} <= {request.span.trace_id}
        self.spans.clear()
        return request, calls


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """Run a collector on a free port."""
    collector = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", collector.take)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        collector.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield collector
    finally:
        await runner.cleanup()


def _read(pair: KeyValue) -> tuple[str, Any]:
    return pair.key, getattr(pair.value, str(pair.value.WhichOneof("value")))
