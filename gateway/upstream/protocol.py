"""What the data path wants of an HTTP client: one POST to an engine, its answer as bytes.

`Upstream` is the seam. Whatever stands behind it has to pass tests/contracts/test_upstream.py:
closing an answer that was not read to its end closes the connection, so the engine stops working
on it; cancelling a call does the same; nothing leaks.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec


class Deadlines(msgspec.Struct, frozen=True, kw_only=True):
    """How long to wait for each step of a call, seconds."""

    connect: float = 5.0
    first_byte: float
    """From the request to the first byte of the answer's body."""
    idle: float
    """From one piece of the body to the next."""


Taker = Callable[[bytes], bool]
"""Takes a piece of a body, or leaves it and returns False. Does not raise."""


class UpstreamResponse(Protocol):
    """An answer whose head has arrived."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers; look-up ignores case."""

    async def read(self, taker: Taker | None = None) -> bytes:
        """Return what has come of the body since the last time, at least a byte; b"" at its end.

        Waits only if nothing has.

        Args:
            taker: may be offered pieces of the middle of the body at the moment at which they
                come, as long as this waits; those that it takes are not returned.

        Raises:
            EngineTimeoutError: the next piece did not come in time.
            EngineError: the engine went away before the end of the body, or sent no HTTP.
        """

    def close(self) -> None:
        """End the call. Before the body's end, this closes the connection."""


class Upstream(Protocol):
    """A pool of connections to engines."""

    async def open(
        self, url: str, headers: Mapping[str, str], body: bytes, deadlines: Deadlines
    ) -> UpstreamResponse:
        """POST `body` to `url` and return the answer once its head is here.

        Raises:
            EngineTimeoutError: no answer in time.
            EngineError: with code UNREACHABLE nothing was sent; with any other, maybe.
            ConfigurationError: `url` or a header cannot be sent.
        """
