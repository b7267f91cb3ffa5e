"""Errors on the wire: OpenAI's shape for everything, also what the framework itself refuses.

Anthropic's clients get theirs.
"""

import logging
from typing import Any, Final

from litestar import Request, Response
from litestar.exceptions import HTTPException, MethodNotAllowedException, ValidationException

from gateway.dialects.messages import MESSAGES, anthropic_error
from gateway.http.headers import SECURITY_HEADERS, error_headers
from gateway.http.reply import our_fault
from gateway.runtime import Runtime
from serving.errors import (
    InvalidRequestError,
    MethodNotAllowedError,
    NotFoundError,
    PayloadTooLargeError,
    StropError,
)

logger = logging.getLogger("strop.gateway")

AnyRequest = Request[Any, Any, Any]

_REFUSALS: Final[dict[int, type[StropError]]] = {
    kind.status: kind for kind in (InvalidRequestError, MethodNotAllowedError, PayloadTooLargeError)
}
# Litestar's words for a client that hung up in the middle of its body: it has no type for that.
_HUNG_UP: Final = "client disconnected prematurely"


def answer_strop_error(request: AnyRequest, error: StropError) -> Response[Any]:
    """Answer one of our own errors."""
    headers = {name.decode(): value.decode() for name, value in error_headers(error)}
    return _respond(request, error.status, error.to_body(), headers)


def answer_http_exception(request: AnyRequest, error: HTTPException) -> Response[Any]:
    """Answer what Litestar refuses: no such route, wrong method, malformed input."""
    if error.status_code == 404:
        path = request.scope["path"][:200]
        return answer_strop_error(request, NotFoundError(f"There is no {path} here."))
    if error.detail == _HUNG_UP:
        return Response(None, status_code=error.status_code)  # which nobody gets
    refusal = _REFUSALS.get(error.status_code)
    if refusal is None:
        return answer_bug(request, error)
    body = refusal(_words(error)).to_body()
    return _respond(request, refusal.status, body, dict(error.headers or {}))


def answer_bug(request: AnyRequest, error: Exception) -> Response[Any]:
    """Answer a fault of ours: logged with its traceback, and not explained to strangers."""
    logger.error("%s %s failed", request.method, request.scope["path"], exc_info=error)
    return answer_strop_error(request, our_fault())


def method_not_allowed(allowed: str) -> MethodNotAllowedException:
    """Return the refusal of other methods than a route's own."""
    return MethodNotAllowedException(f"Use {allowed}.", headers={"allow": allowed})


def speaks_anthropic(request: AnyRequest) -> bool:
    """Whether it is an Anthropic client's request: by its path, or by the header that all send."""
    return request.scope["path"].startswith(MESSAGES.path) or "anthropic-version" in request.headers


def _words(error: HTTPException) -> str:
    if not isinstance(error, ValidationException) or not isinstance(error.extra, list):
        return error.detail
    faults = [f"{fault.get('key', 'body')}: {fault.get('message')}" for fault in error.extra]
    return "; ".join(faults) or error.detail


def _respond(
    request: AnyRequest, status: int, body: dict[str, Any], headers: dict[str, str]
) -> Response[Any]:
    runtime: Runtime = request.app.state.runtime
    runtime.metrics.answered_error(body["error"]["code"])
    if speaks_anthropic(request):
        body = anthropic_error(status, body["error"]["message"])
    return Response(
        body,
        status_code=status,
        media_type="application/json",
        headers={**SECURITY_HEADERS, **headers},
    )


EXCEPTION_HANDLERS: Final[dict[Any, Any]] = {
    StropError: answer_strop_error,
    HTTPException: answer_http_exception,
    Exception: answer_bug,
}
