"""Where a request goes: a URL taken apart, once for each of the few that a gateway calls."""

import re
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

import msgspec

from serving.errors import ConfigurationError

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
# Printable ASCII without the space: neither a second line nor a second word in the request line.
_PLAIN: Final = re.compile(r"[\x21-\x7e]+")
_HOST: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*|[0-9A-Fa-f:.]+")


class Origin(msgspec.Struct, frozen=True, cache_hash=True):
    """What a connection is made to, and what it may be used again for."""

    host: str
    """A name or an address; IPv6 without brackets."""
    port: int
    is_tls: bool


class Target(msgspec.Struct, frozen=True, cache_hash=True):
    """One place at an origin, as the request's head names it."""

    origin: Origin
    authority: str
    """For the Host header: the port only where it is not the scheme's own."""
    path: str
    """With the query, never empty."""


@lru_cache(maxsize=1024)
def parse_target(url: str) -> Target:
    """Take a URL apart; its fragment is left behind.

    Raises:
        ConfigurationError: it is not one that a request can go to. It is not quoted: it may hold a
            password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _unfit() from error
    host = parts.hostname or ""
    default_port = _DEFAULT_PORTS.get(parts.scheme)
    is_fit = _PLAIN.fullmatch(url) and _HOST.fullmatch(host) and "@" not in parts.netloc
    if not is_fit or default_port is None or port == 0:
        raise _unfit()
    name = f"[{host}]" if ":" in host else host
    return Target(
        origin=Origin(host, port or default_port, is_tls=parts.scheme == "https"),
        authority=name if port in {None, default_port} else f"{name}:{port}",
        path=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
    )


def _unfit() -> ConfigurationError:
    return ConfigurationError(
        "It is no engine's address. Write http://host:port or https://host:port, in ASCII and "
        "without a user or password."
    )
