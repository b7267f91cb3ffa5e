"""How long each request keeps a replica busy: what its share of a GPU's price is measured by.

Requests that run at one replica at once share its time evenly. So a replica has a clock of its own,
which stands still while nothing runs and goes at 1/n of the pace of time while n requests do (the
virtual time of processor sharing; Kleinrock, Queueing Systems II, 4.4): a request's share is what
that clock went on while it ran, and all shares together are the time in which the replica was busy.
What is idle is nobody's.

    cost = share in hours * GPUs of the replica * price of a GPU's hour

An engine does not tell whose prompt or token its time went into; even shares are the simplest rule
that adds up. The clock is shared by the gateway workers of this host; gateways on other hosts that
use the same replica keep their own, and see each other's work as idle time.
"""

import time
from collections.abc import Callable
from typing import Final, Self

from gateway.quota.table import CLOCK, MOVED_AT, Row, SharedTable

_HOUR_MS: Final = 3_600_000


class Meter:
    """One request's time at a replica: `with meter:` begins and ends it.

    Args:
        table: what the workers of this host share.
        replica: its URL.
        price_per_hour: of the whole replica.
        clock: nanoseconds.
    """

    def __init__(
        self,
        table: SharedTable,
        replica: str,
        price_per_hour: float,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.busy_ms = 0.0
        """Its share of the replica's time, once it has ended."""
        self._price_per_ms = price_per_hour / _HOUR_MS
        self._row = table.row(f"replica/{replica}")
        self._now = clock
        self._began_at = 0
        self._is_running = False

    @property
    def cost(self) -> float:
        """What its time costs."""
        return self.busy_ms * self._price_per_ms

    def stop(self) -> None:
        """End it, if it has not ended."""
        if self._is_running:
            self._is_running = False
            with self._row as row:
                self.busy_ms = (self._go_on(row) - self._began_at) / 10**6
                row.end(0)

    def __enter__(self) -> Self:
        with self._row as row:
            self._began_at = self._go_on(row)
            row.begin()
        self._is_running = True
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _go_on(self, row: Row) -> int:
        """Move the replica's clock to now; return what it says, nanoseconds."""
        now, num_running = self._now(), row.num_running
        if num_running:
            row[CLOCK] += (now - row[MOVED_AT]) // num_running
        row[MOVED_AT] = now
        return row[CLOCK]
