"""How much may come from one address that shows no key."""

import time
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

from serving.errors import RateLimitError

_WINDOW_SECONDS: Final = 60.0
_ONE_SITE: Final = 64
"""Bits of an IPv6 address that name a site; the others its owner may choose for every request."""


class AddressLimiter:
    """Counts per address and minute, in this worker's memory; forgets all when the minute turns."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._counts: Counter[str] = Counter()
        self._began_at = clock()

    def admit(self, address: str) -> None:
        """Count one request.

        Raises:
            RateLimitError: this minute's are used up.
        """
        now = self._clock()
        if now - self._began_at >= _WINDOW_SECONDS:
            self._counts.clear()
            self._began_at = now
        caller = caller_of(address)
        self._counts[caller] += 1
        if self._counts[caller] > self._per_minute:
            raise RateLimitError(
                f"More than {self._per_minute} ratings a minute without a key from one address.",
                retry_after=self._began_at + _WINDOW_SECONDS - now,
            )


def caller_of(address: str) -> str:
    """Return what counts as one caller: an IPv4 address, the site of an IPv6 one."""
    try:
        found = ip_address(address)
    except ValueError:  # a socket in the file system has no address
        return address
    if not isinstance(found, IPv6Address):
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ip_network((int(found), _ONE_SITE), strict=False))
