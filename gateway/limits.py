"""How much may come from one address that shows no key."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from serving.errors import RateLimitError

_WINDOW_SECONDS: Final = 60.0


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
        self._counts[address] += 1
        if self._counts[address] > self._per_minute:
            raise RateLimitError(
                f"More than {self._per_minute} ratings a minute without a key from one address.",
                retry_after=self._began_at + _WINDOW_SECONDS - now,
            )
