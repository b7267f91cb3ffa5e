"""What is said to a head that no application is to see."""

from typing import Final

import httptools

from serving.errors import InvalidRequestError, NotFoundError, StropError

MAX_HEAD_BYTES: Final = 64 * 1024


class RefusedHeadError(Exception):
    """A head that no application is to see, and the status that says so."""

    def __init__(self, status: int, error: StropError) -> None:
        super().__init__(status, error)
        self.status = status
        self.error = error


def refusal_of(error: httptools.HttpParserError) -> RefusedHeadError:
    """Return the refusal that a callback raised, or that of bytes that are no HTTP."""
    cause = error.__context__
    return cause if isinstance(cause, RefusedHeadError) else malformed("It is no HTTP/1.1.")


def malformed(reason: str) -> RefusedHeadError:
    """Return the refusal of what is no request, for a reason."""
    words = f"The request cannot be read. {reason}"
    return RefusedHeadError(400, InvalidRequestError(words, code="malformed_request"))


def head_too_long() -> RefusedHeadError:
    """Return the refusal of more than `MAX_HEAD_BYTES`."""
    words = f"Headers and trailers may have {MAX_HEAD_BYTES} bytes."
    return RefusedHeadError(431, InvalidRequestError(words, code="headers_too_large"))


def head_late(seconds: float) -> RefusedHeadError:
    """Return the refusal of a head that took longer than `seconds`."""
    words = f"The request's head did not arrive within {seconds:g} s."
    return RefusedHeadError(408, InvalidRequestError(words, code="head_timeout"))


def no_such_path(path: str) -> RefusedHeadError:
    """Return the refusal of a path that no route has."""
    return RefusedHeadError(404, NotFoundError(f"There is no {path[:200]} here."))
