"""How a call to an engine fails: every error of the client is worded here."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from serving.errors import EngineError, EngineTimeoutError

UNREACHABLE: Final = "engine_unreachable"
WENT_AWAY: Final = "engine_went_away"
NOT_HTTP: Final = "engine_not_http"


def unreachable() -> EngineError:
    """No connection; nothing was sent."""
    return EngineError("The engine cannot be reached.", code=UNREACHABLE)


def went_away() -> EngineError:
    """The connection ended, and the answer had not."""
    return EngineError("The engine went away before its answer ended.", code=WENT_AWAY)


def timed_out() -> EngineTimeoutError:
    """Silence for too long."""
    return EngineTimeoutError("The engine did not answer in time.")


def not_http(reason: str) -> EngineError:
    """What came is not an answer that HTTP/1.1 allows, or that we take."""
    return EngineError(f"The engine's answer cannot be read: {reason}.", code=NOT_HTTP)


@contextmanager
def connecting() -> Iterator[None]:
    """Turn whatever fails between a host's name and a finished handshake into UNREACHABLE."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise EngineError("The engine's certificate is not trusted.", code=UNREACHABLE) from error
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that DNS cannot hold
        raise unreachable() from error
