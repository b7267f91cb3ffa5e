"""How much may come from one address that shows no key."""

import time
from collections.abc import Callable
from hashlib import blake2b
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

from gateway.quota.rules import taken, wait_ns
from gateway.quota.table import REQUESTS_FULL_AT, SharedTable
from serving.errors import RateLimitError

_NUM_COUNTS: Final = 1024
"""Addresses are without number and a row is never freed: those of one hash share a count. Nobody
can choose with whom: the hash has a key."""
_ONE_SITE: Final = 64
"""Bits of an IPv6 address that name a site; the others its owner may choose for every request."""


class AddressLimiter:
    """Counts per caller and minute, exact over the gateway workers of this host.

    Args:
        table: what those workers share.
        key: a secret, the same for all of them.
        clock: nanoseconds, the same for all of them.
    """

    def __init__(
        self,
        table: SharedTable,
        key: bytes,
        per_minute: int,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._table = table
        self._key = key
        self._per_minute = per_minute
        self._clock = clock

    def admit(self, address: str) -> None:
        """Count one request.

        Raises:
            RateLimitError: this minute's are used up.
            UnavailableError: the disk is full.
        """
        hashed = blake2b(caller_of(address).encode(), key=self._key, digest_size=8).digest()
        count = int.from_bytes(hashed) % _NUM_COUNTS
        with self._table.row(f"address/{count}") as row:
            now = self._clock()
            full_at = taken(row[REQUESTS_FULL_AT], now, self._per_minute, 1)
            wait = wait_ns(full_at, now)
            if not wait:
                row[REQUESTS_FULL_AT] = full_at
        if wait:
            raise RateLimitError(
                f"More than {self._per_minute} ratings a minute without a key from one address.",
                retry_after=wait / 10**9,
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
