"""One timer for a whole connection, however often its deadline moves."""

import asyncio
from collections.abc import Callable


class Alarm:
    """Calls `ring` when a deadline passes.

    A stream moves its deadline with every piece. A timer for each would cost more than the piece,
    so a later deadline is only noted: the timer that is armed finds it when it fires.
    """

    __slots__ = ("_due", "_fires_at", "_loop", "_ring", "_timer")

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._due = 0.0
        self._fires_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def set(self, due: float) -> None:
        """Move the deadline to `due`, in the loop's time."""
        self._due = due
        if self._timer is None or due < self._fires_at:
            self._arm()

    def close(self) -> None:
        """Ring no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self.close()
        self._fires_at = self._due
        self._timer = self._loop.call_at(self._due, self._fire)

    def _fire(self) -> None:
        self._timer = None
        if self._loop.time() < self._due:
            self._arm()
        else:
            self._ring()
