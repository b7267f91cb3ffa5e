"""The error tree. Every error a person or a program can meet is one of these.

    StropError
    ├── InvalidRequestError        400  the request, the file or the argument is wrong
    │   ├── ConfigurationError     400  strop.toml, the environment or the machine is wrong
    │   ├── MethodNotAllowedError  405  a path that takes other methods
    │   └── RefusedHeadError       400  a request's head that no application is to see
    │       ├── AmbiguousPathError 404  a path that another server may read otherwise
    │       ├── HeadTimeoutError   408  a head that did not arrive in time
    │       └── HeadTooLongError   431  a head over the limit
    ├── AuthenticationError        401  no key, or none that we know
    ├── PermissionDeniedError      403  a known key that may not do this
    ├── NotFoundError              404  no such thing, or not for this key
    │   └── ModelNotFoundError     404  no such model, or not for this key
    ├── ConflictError              409  somebody else was first, or the state forbids it
    ├── PayloadTooLargeError       413  a body over the limit
    ├── RateLimitError             429  your quota of this minute or hour
    │   └── InsufficientQuotaError 429  your budget of this month
    └── UnavailableError           503  no capacity now; try again after `retry_after` seconds
        └── EngineError            502  the engine answered with an error, or not at all
            └── EngineTimeoutError 504  the engine did not answer in time

A message says what happened, to what, and the mend. On the wire it takes OpenAI's shape.
"""

from typing import Any, ClassVar


class StropError(Exception):
    """Base of the tree.

    Attributes:
        status: HTTP status of the answer that carries this error.
        kind: OpenAI's `error.type`.
        code: OpenAI's `error.code`, stable, for programs.
        param: the request field at fault, where there is one.
        retry_after: seconds after which a retry makes sense, where it does.
    """

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "server_error"
    default_code: ClassVar[str] = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.param = param
        self.retry_after = retry_after

    def to_body(self) -> dict[str, dict[str, Any]]:
        """Return the body that OpenAI's clients understand."""
        return {
            "error": {
                "message": self.message,
                "type": self.kind,
                "param": self.param,
                "code": self.code,
            }
        }


class InvalidRequestError(StropError):
    """The request, the file or the argument is wrong."""

    status = 400
    kind = "invalid_request_error"
    default_code = "invalid_request"


class ConfigurationError(InvalidRequestError):
    """strop.toml, the environment or the machine is wrong."""

    default_code = "configuration"


class MethodNotAllowedError(InvalidRequestError):
    """A path that takes other methods."""

    status = 405
    default_code = "method_not_allowed"


class RefusedHeadError(InvalidRequestError):
    """A request's head that no application is to see."""

    default_code = "malformed_request"


class AmbiguousPathError(RefusedHeadError):
    """A path that another server may read otherwise."""

    status = 404
    default_code = "not_found"


class HeadTimeoutError(RefusedHeadError):
    """A head that did not arrive in time."""

    status = 408
    default_code = "head_timeout"


class HeadTooLongError(RefusedHeadError):
    """A head over the limit."""

    status = 431
    default_code = "headers_too_large"


class AuthenticationError(StropError):
    """No key, or none that we know."""

    status = 401
    kind = "authentication_error"
    default_code = "invalid_api_key"


class PermissionDeniedError(StropError):
    """A known key that may not do this."""

    status = 403
    kind = "permission_error"
    default_code = "permission_denied"


class NotFoundError(StropError):
    """No such thing, or not for this key: the two are one answer."""

    status = 404
    kind = "invalid_request_error"
    default_code = "not_found"


class ModelNotFoundError(NotFoundError):
    """No such model, or not for this key: the two are one answer."""

    default_code = "model_not_found"


class ConflictError(StropError):
    """Somebody else was first, or the state forbids it."""

    status = 409
    kind = "invalid_request_error"
    default_code = "conflict"


class PayloadTooLargeError(StropError):
    """A body over the limit."""

    status = 413
    kind = "invalid_request_error"
    default_code = "payload_too_large"


class RateLimitError(StropError):
    """Your quota of this minute or hour is used up."""

    status = 429
    kind = "rate_limit_error"
    default_code = "rate_limit_exceeded"


class InsufficientQuotaError(RateLimitError):
    """Your budget of this month is used up."""

    kind = "insufficient_quota"
    default_code = "insufficient_quota"


class UnavailableError(StropError):
    """No capacity now; try again after `retry_after` seconds."""

    status = 503
    kind = "server_error"
    default_code = "unavailable"


class EngineError(UnavailableError):
    """The engine answered with an error, or not at all."""

    status = 502
    default_code = "engine_error"


class EngineTimeoutError(EngineError):
    """The engine did not answer in time."""

    status = 504
    default_code = "engine_timeout"
