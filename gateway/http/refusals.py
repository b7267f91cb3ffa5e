"""What is said to a head that no application is to see."""

from typing import Final

import httptools

from serving.errors import (
    AmbiguousPathError,
    HeadTimeoutError,
    HeadTooLongError,
    RefusedHeadError,
)

MAX_HEAD_BYTES: Final = 64 * 1024


def refusal_of(error: httptools.HttpParserError) -> RefusedHeadError:
    """Return the refusal that a callback raised, or that of bytes that are no HTTP."""
    cause = error.__context__
    return cause if isinstance(cause, RefusedHeadError) else malformed("It is no HTTP/1.1.")


def malformed(reason: str) -> RefusedHeadError:
    """Return the refusal of what is no request, for a reason."""
    return RefusedHeadError(f"The request cannot be read. {reason}")


def head_too_long() -> HeadTooLongError:
    """Return the refusal of more than `MAX_HEAD_BYTES`."""
    return HeadTooLongError(f"Headers and trailers may have {MAX_HEAD_BYTES} bytes.")


def head_late(seconds: float) -> HeadTimeoutError:
    """Return the refusal of a head that took longer than `seconds`."""
    return HeadTimeoutError(f"The request's head did not arrive within {seconds:g} s.")


def no_such_path(path: str) -> AmbiguousPathError:
    """Return the refusal of a path that no route has."""
    return AmbiguousPathError(f"There is no {path[:200]} here.")
