"""The life of a request, from the client's bytes to the record's last line.

`_answer` reads as its list of steps. It runs as a task of its own, which is cancelled when the client
hangs up, streamed or not; nothing stands between the engine's bytes and the client's.
"""

import asyncio
import logging

from gateway.auth import authenticate
from gateway.dialects.endpoint import Endpoint
from gateway.http.body import read_json
from gateway.http.exchange import Exchange
from gateway.http.headers import Headers
from gateway.http.reply import Reply, our_fault
from gateway.inference.capture import Capture
from gateway.inference.engine_call import call_engine
from gateway.inference.order import Order, make_order
from gateway.policy.fields import Asked, authorise
from gateway.quota.admission import Admission
from gateway.runtime import Runtime
from gateway.tracing.trace import Trace
from serving.errors import InvalidRequestError, StropError, UnavailableError
from serving.routing.catalog import Principal
from serving.routing.choose import choose

logger = logging.getLogger("strop.gateway")

CONVERSATION_HEADER = b"x-strop-conversation"
SHUTTING_DOWN = "shutting_down"


async def handle_inference(runtime: Runtime, endpoint: Endpoint, exchange: Exchange) -> None:
    """Answer one request, whatever happens, in its endpoint's dialect."""
    reply = Reply(exchange, endpoint)
    with runtime.tracing.begin(endpoint, exchange.headers, reply) as trace:
        try:
            await _answer(runtime, endpoint, exchange, reply, trace)
        except StropError as error:
            runtime.metrics.answered_error(error.code)
            trace.failed(error.code)
            await reply.fail(error)
        except asyncio.CancelledError:
            if exchange.is_gone:
                return  # recorded as such; nobody is left to answer
            # The server's drain time is over. All that it wants of us is to come to an end.
            runtime.metrics.answered_error(SHUTTING_DOWN)
            trace.failed(SHUTTING_DOWN)
            await reply.fail(
                UnavailableError("The gateway is shutting down.", code=SHUTTING_DOWN, retry_after=1)
            )
        except Exception:
            logger.exception("A request to %s failed", endpoint.path)
            fault = our_fault()
            runtime.metrics.answered_error(fault.code)
            trace.failed(fault.code)
            await reply.fail(fault)


async def _answer(
    runtime: Runtime, endpoint: Endpoint, exchange: Exchange, reply: Reply, trace: Trace
) -> None:
    headers, is_awaited = exchange.headers, exchange.more_body
    principal = _principal(runtime, endpoint, headers)
    with Admission(runtime.quotas, principal, runtime.catalog.usage, reply.lines) as admission:
        # What is not authorised is let go of at once; it may be large.
        asked = authorise(
            endpoint, await read_json(exchange, runtime.settings.gateway), principal.exceptions
        )
        if is_awaited:  # a body may take its time, and a key be revoked meanwhile
            principal = _principal(runtime, endpoint, headers)
        order = _decide(runtime, endpoint, principal, asked, _conversation(headers))
        reply.lines += order.reply_lines
        trace.ordered(order)
        if asked.schemas is not None:
            admission.use_schemas(asked.schemas)
        admission.reserve(order.choice.alias, order.num_tokens)
        with Capture(runtime, order, exchange, admission, trace) as capture:
            await capture.secure()
            await call_engine(runtime, order, capture, reply)


def _decide(
    runtime: Runtime,
    endpoint: Endpoint,
    principal: Principal,
    asked: Asked,
    conversation: str | None,
) -> Order:
    """Choose the release and write the engine's request. Waits for nothing: see Traffic."""
    sticky = asked.subject or conversation or principal.key_id
    choice = choose(runtime.catalog, runtime.bases, principal, asked.model, sticky)
    return make_order(
        signer=runtime.signer,
        pool=runtime.pool(choice.pool),
        endpoint=endpoint,
        principal=principal,
        asked=asked,
        choice=choice,
        conversation=conversation,
    )


def _principal(runtime: Runtime, endpoint: Endpoint, headers: Headers) -> Principal:
    api_key = _text(headers, endpoint.key_header) if endpoint.key_header else None
    return authenticate(runtime.catalog, _text(headers, b"authorization"), api_key)


def _conversation(headers: Headers) -> str | None:
    found = _text(headers, CONVERSATION_HEADER)
    if found is not None and len(found) > 256:
        raise InvalidRequestError(
            "`x-strop-conversation` may have 256 characters.", param="x-strop-conversation"
        )
    return found or None


def _text(headers: Headers, name: bytes) -> str | None:
    value = headers.get(name)
    return None if value is None else value.decode("latin-1")
