"""Spans: one of a request, and within it one of each call of an engine.

Names are those of OpenTelemetry's conventions for HTTP and for generative AI, and our own under
`strop.`. No span holds a prompt, an answer, the words of an error, a key or a header: what was
said stands in the journal, under `strop.inference_id`.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gateway.dialects.endpoint import Endpoint
from gateway.http.headers import Headers
from gateway.http.reply import Reply
from gateway.inference.order import Order, base_name
from gateway.tracing.trace import Trace, Tracing
from serving.errors import StropError
from serving.settings import Settings
from serving.target import parse_target
from serving.types import InferenceStatus

Attributes = dict[str, str | int | float | bool]

_OPERATIONS: Final = {
    "/v1/completions": "text_completion",
    "/v1/embeddings": "embeddings",
    "/v1/messages/count_tokens": "count_tokens",
}
"""All else is `chat`."""
_FINE: Final = (InferenceStatus.OK, InferenceStatus.CLIENT_ABORTED)


class SpanTracing(Tracing):
    """Begins traces whose spans `provider` gets."""

    def __init__(self, provider: TracerProvider, settings: Settings) -> None:
        super().__init__()
        self._provider = provider
        self._tracer = provider.get_tracer("strop")
        self._w3c = TraceContextTextMapPropagator()
        self._here: Attributes = {
            "server.address": settings.gateway.host,
            "server.port": settings.gateway.port,
            "url.scheme": "http",
            "http.request.method": "POST",
        }
        self._pools: dict[str, tuple[str, str]] = {
            pool.name: (pool.kind.value, base_name(pool)) for pool in settings.all_pools
        }

    def begin(self, endpoint: Endpoint, headers: Headers, reply: Reply) -> Trace:
        """Return a trace that goes on with the client's, if it names one.

        `traceparent` alone is read: `tracestate` may hold anything, and the spans would carry it.
        """
        given = headers.get(b"traceparent")
        carrier = {"traceparent": given.decode("latin-1")} if given else {}
        request = self._tracer.start_span(
            f"POST {endpoint.path}",
            self._w3c.extract(carrier, Context()),
            SpanKind.SERVER,
            {**self._here, "http.route": endpoint.path, "url.path": endpoint.path},
        )
        return SpanTrace(self._tracer, self._w3c, request, self._pools, reply)

    async def close(self) -> None:
        """Have what is left sent."""
        await asyncio.to_thread(self._provider.shutdown)


class SpanTrace(Trace):
    """One request's spans.

    Args:
        tracer: makes them.
        w3c: writes `traceparent`.
        request: the first of them, which has begun.
        pools: pool -> who its engines are, and their name for its base model.
        reply: knows in the end which status the client got.
    """

    def __init__(
        self,
        tracer: Tracer,
        w3c: TraceContextTextMapPropagator,
        request: Span,
        pools: Mapping[str, tuple[str, str]],
        reply: Reply,
    ) -> None:
        self._tracer = tracer
        self._w3c = w3c
        self._request = request
        self._pools = pools
        self._reply = reply
        self._engine: Attributes = {}
        self._call: Span | None = None  # while it lasts
        self._engine_status = 0
        self._is_ended = False
        self._error: str | None = None

    @property
    def headers(self) -> Mapping[str, str]:
        """What the engine is told: to go on from the call's span."""
        carrier: dict[str, str] = {}
        if self._call is not None:
            self._w3c.inject(carrier, set_span_in_context(self._call, Context()))
        return carrier

    def ordered(self, order: Order) -> None:
        """Note the model, now that it is known to be one, and the choice that was made."""
        alias, release = order.choice.alias, order.choice.release
        provider, base = self._pools[order.choice.pool]
        model = order.choice.adapter or base
        self._engine = {
            "gen_ai.operation.name": _OPERATIONS.get(order.endpoint.path, "chat"),
            "gen_ai.provider.name": provider,
            "gen_ai.request.model": model,
            "gen_ai.response.model": model,
            "gen_ai.request.stream": order.asked.is_streamed,
            "strop.inference_id": order.inference_id,
        }
        mine: Attributes = {
            "gen_ai.request.model": order.asked.model,
            "strop.tenant": order.principal.tenant,
            "strop.arm": order.choice.arm.value,
        }
        if alias is not None:
            mine["strop.alias"] = alias.name
        if release is not None:
            mine["strop.release"] = release.number
        self._request.set_attributes({**self._engine, **mine})

    @contextmanager
    def call(self, replica: str) -> Iterator[None]:
        """Surround a call with its span."""
        engine = parse_target(replica).origin
        span = self._tracer.start_span(
            f"{self._engine['gen_ai.operation.name']} {self._engine['gen_ai.request.model']}",
            set_span_in_context(self._request, Context()),
            SpanKind.CLIENT,
            {
                **self._engine,
                "server.address": engine.host,
                "server.port": engine.port,
            },
        )
        self._call = span
        try:
            yield
        except BaseException as error:
            if not self._is_ended:
                self._give_up(span, error)
            raise
        finally:
            self._call = None
            span.end()

    def call_answered(self, http_status: int) -> None:
        """Note the engine's status with the call."""
        self._engine_status = http_status
        if self._call is not None:
            self._call.set_attribute("http.response.status_code", http_status)

    def call_failed(self, code: str) -> None:
        """Note why another replica is asked."""
        if self._call is not None:
            _fail(self._call, code)

    def saw_first_token(self, seconds: float) -> None:
        """Note the moment with the call, and how long it took to come."""
        if self._call is not None:
            self._call.add_event("strop.first_token")
            self._call.set_attribute("gen_ai.response.time_to_first_chunk", seconds)

    def used_tokens(self, prompt: int, completion: int) -> None:
        """Note them with the call and with the request."""
        used: Attributes = {
            "gen_ai.usage.input_tokens": prompt,
            "gen_ai.usage.output_tokens": completion,
        }
        for span in self._open:
            span.set_attributes(used)

    def ended(self, status: InferenceStatus) -> None:
        """Note what the record says."""
        self._is_ended = True
        self._request.set_attribute("strop.status", status.value)
        if status in _FINE:
            return
        is_refused = status is InferenceStatus.REFUSED
        self._error = str(self._engine_status) if is_refused else status.value
        if self._call is not None:
            _fail(self._call, self._error)

    def failed(self, code: str) -> None:
        """Note what the client is told, in a word."""
        self._error = code

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._error = kind.__name__
        status = self._reply.status
        if status is not None:
            self._request.set_attribute("http.response.status_code", status)
        if self._error is not None:
            # By the conventions what a client did wrong is no error of the server's.
            is_clients_fault = status is not None and 400 <= status < 500
            _fail(self._request, self._error, is_error=not is_clients_fault)
        self._request.end()

    @property
    def _open(self) -> tuple[Span, ...]:
        return (self._request,) if self._call is None else (self._request, self._call)

    @staticmethod
    def _give_up(call: Span, error: BaseException) -> None:
        if isinstance(error, StropError):
            _fail(call, error.code)
        elif isinstance(error, asyncio.CancelledError):
            _fail(call, "cancelled", is_error=False)  # by ourselves
        else:
            _fail(call, type(error).__name__)


def _fail(span: Span, code: str, *, is_error: bool = True) -> None:
    span.set_attribute("error.type", code)
    if is_error:
        span.set_status(StatusCode.ERROR)
