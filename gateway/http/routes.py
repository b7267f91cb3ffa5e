"""What is answered by exchanges, and by whom."""

from collections.abc import Awaitable, Callable
from urllib.parse import unquote

import httptools

from gateway.http.exchange import Exchange

Handler = Callable[[Exchange], Awaitable[None]]


class Routes:
    """Handlers by method and path. What is not here is the application's."""

    def __init__(self) -> None:
        self.tell_refused: Callable[[str], None] = _tell_nobody
        """Hears the code of each error by which a head was refused that nobody here is to see."""
        self._handlers: dict[tuple[bytes, bytes], Handler] = {}

    def add(self, method: str, path: str, handler: Handler) -> None:
        """Have requests of a method to a path answered by `handler`."""
        self._handlers[method.encode(), path.encode()] = handler

    def find(self, method: bytes, url: bytes) -> Handler | None:
        """Return who answers a request.

        Args:
            method: as it came.
            url: the request's target, as it came.

        Raises:
            HttpParserInvalidURLError: it is no target.
        """
        found = self._handlers.get((method, url))
        if found is None and self._handlers:
            path = unquote(httptools.parse_url(url).path).rstrip("/")
            found = self._handlers.get((method, path.encode()))
        return found


def _tell_nobody(code: str) -> None:
    """Let a refusal be."""
