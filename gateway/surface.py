"""The routes that apps and probes call.

What is posted to `/v1` are exchanges, which Litestar never sees; it knows the paths, for their
other methods and for the document. The rest is ordinary Litestar.
"""

import logging
from functools import partial
from typing import Any, Final

from litestar import MediaType, Response, asgi, get
from litestar.handlers import ASGIRouteHandler
from litestar.openapi.spec import SecurityRequirement
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler, HTTPScope, Receive, Scope, Send
from prometheus_client import CONTENT_TYPE_LATEST

from gateway.auth import authenticate
from gateway.dialects.messages import anthropic_model, anthropic_models
from gateway.dialects.served import ENDPOINTS
from gateway.errors import AnyRequest, method_not_allowed, speaks_anthropic
from gateway.feedback import handle_feedback, handle_preflight
from gateway.http.routes import Routes
from gateway.inference.life import handle_inference
from gateway.runtime import Runtime
from gateway.server import LEAVING
from serving.routing.catalog import Principal
from serving.routing.choose import callable_models, choose

logger = logging.getLogger("strop.gateway")

FEEDBACK: Final = "/v1/feedback"
_EITHER_HEADER: Final[list[SecurityRequirement]] = [{"bearer": []}, {"key": []}]


def add_routes(routes: Routes, runtime: Runtime) -> None:
    """Have a worker's data path answer what is its own, and count what it refuses before that."""
    routes.tell_refused = runtime.metrics.answered_error
    for endpoint in ENDPOINTS:
        routes.add("POST", endpoint.path, partial(handle_inference, runtime, endpoint))
    routes.add("POST", FEEDBACK, partial(handle_feedback, runtime))
    routes.add("OPTIONS", FEEDBACK, partial(handle_preflight, runtime))


def handlers() -> list[ControllerRouterHandler]:
    """Return Litestar's routes of this file."""
    return [
        *(_others(endpoint.path, "POST") for endpoint in ENDPOINTS),
        _others(FEEDBACK, "POST, OPTIONS"),
        list_models,
        show_model,
        live,
        ready,
        metrics,
    ]


def _others(path: str, answered: str) -> ASGIRouteHandler:
    """Return what refuses a path's other methods."""

    @asgi(path, copy_scope=False)
    async def refuse(scope: HTTPScope, receive: Receive, send: Send) -> None:
        raise method_not_allowed(answered)

    return refuse


@get("/v1/models", tags=["v1"], security=_EITHER_HEADER)
async def list_models(request: AnyRequest) -> dict[str, Any]:
    """List the names that this key may put into `model`; to Anthropic's clients in their form."""
    runtime, principal = _caller(request)
    names = callable_models(runtime.catalog, runtime.bases, principal)
    if speaks_anthropic(request):
        return anthropic_models(names)
    return {"object": "list", "data": [_model(name) for name in names]}


# By path: a base model's name may be an organisation's, with a slash in it.
@get("/v1/models/{model:path}", tags=["v1"], security=_EITHER_HEADER)
async def show_model(request: AnyRequest, model: FromPath[str]) -> dict[str, Any]:
    """Say that this key may put a name into `model`, if it may."""
    runtime, principal = _caller(request)
    name = model.removeprefix("/")
    choose(runtime.catalog, runtime.bases, principal, name, sticky="")
    return anthropic_model(name) if speaks_anthropic(request) else _model(name)


@get("/health/live", tags=["health"])
async def live() -> dict[str, str]:
    """Say that this process runs and its event loop turns."""
    return {"status": "live"}


@get("/health/ready", tags=["health"])
async def ready(request: AnyRequest) -> Response[dict[str, Any]]:
    """Say whether traffic can be answered: keys are read and an engine is well."""
    reasons = _reasons_not_ready(_runtime(request.scope))
    if request.scope["state"].get(LEAVING):
        reasons.append("This gateway is shutting down.")
    status = "not ready" if reasons else "ready"
    return Response({"status": status, "reasons": reasons}, status_code=503 if reasons else 200)


@get("/metrics", media_type=MediaType.TEXT, tags=["health"])
async def metrics(request: AnyRequest) -> Response[bytes]:
    """Return Prometheus metrics of all gateway workers of this host."""
    runtime = _runtime(request.scope)
    try:
        await runtime.gauges.show_journal()
    except OSError as error:
        logger.warning("The journal cannot be measured: %s", error)
        runtime.metrics.failed("journal")
    text = await runtime.metrics.render_aside()
    return Response(text, headers={"content-type": CONTENT_TYPE_LATEST})


def _reasons_not_ready(runtime: Runtime) -> list[str]:
    reasons = []
    if not runtime.follower.is_loaded:
        reasons.append("The database has not been read yet.")
    if any(task.done() for task in runtime.background):
        reasons.append("A background task has died; the log says why. Restart the gateway.")
    if runtime.journal.has_failed:
        reasons.append("The journal's disk has failed. This worker is about to be replaced.")
    pools = runtime.prover.pools
    if not any(runtime.prover.replicas_for(pool, None) for pool in pools):
        # Everybody may ask: names are for the log and `strop doctor`.
        reasons.append(f"No engine is healthy in any pool ({len(pools)} configured).")
    return reasons


def _caller(request: AnyRequest) -> tuple[Runtime, Principal]:
    runtime, given = _runtime(request.scope), request.headers
    principal = authenticate(runtime.catalog, given.get("authorization"), given.get("x-api-key"))
    return runtime, principal


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "strop"}


def _runtime(scope: Scope) -> Runtime:
    runtime: Runtime = scope["litestar_app"].state.runtime
    return runtime
