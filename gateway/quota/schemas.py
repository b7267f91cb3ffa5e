"""How many different schemas a key may have engines compile.

For each new one an engine compiles a grammar and keeps it (vLLM GHSA-hf3c-wxg2-49q9): who sends a new
one with every request takes its time and its memory from everybody.
"""

from collections import OrderedDict
from itertools import islice
from math import ceil
from typing import Final

from serving.errors import RateLimitError
from serving.routing.catalog import Principal

USUAL_SCHEMAS: Final = 64
"""Different ones within an hour."""
SCHEMAS: Final = "schemas"
"""By this name an operator gives a key another bound."""

_HOUR_NS: Final = 3600 * 10**9
_NUM_KEYS: Final = 1024
"""Whose schemas are remembered; whoever was not heard of for longest begins anew."""


class RecentSchemas:
    """What each key used within the last hour, by its digest, as far as this worker has seen it."""

    def __init__(self) -> None:
        # Digest -> when it was last used, the longest ago first; and so are the keys.
        self._by_key: OrderedDict[str, OrderedDict[bytes, int]] = OrderedDict()

    def use(self, principal: Principal, digest: bytes, now: int) -> None:
        """Count a use, which renews the hour of a schema that is known.

        Args:
            principal: whose request it is.
            digest: of the request's schemas.
            now: nanoseconds since anything.

        Raises:
            RateLimitError: it is one too many.
        """
        special = principal.exceptions
        most = USUAL_SCHEMAS if special is None else int(special.most.get(SCHEMAS, USUAL_SCHEMAS))
        used = self._used_by(principal.key_id, now)
        if digest not in used and len(used) >= most:
            # As many have to be forgotten as leave room for one.
            last_used_at = next(islice(used.values(), len(used) - most, None))
            wait = (last_used_at + _HOUR_NS - now) / 10**9
            raise RateLimitError(
                f"This key may use {most} different JSON schemas an hour, those of tools that are "
                f"forced or strict included. Try again in {ceil(wait)} s.",
                retry_after=wait,
            )
        used[digest] = now
        used.move_to_end(digest)

    def _used_by(self, key_id: str, now: int) -> OrderedDict[bytes, int]:
        used = self._by_key.setdefault(key_id, OrderedDict())
        self._by_key.move_to_end(key_id)
        if len(self._by_key) > _NUM_KEYS:
            self._by_key.popitem(last=False)
        while used and next(iter(used.values())) <= now - _HOUR_NS:
            used.popitem(last=False)
        return used
