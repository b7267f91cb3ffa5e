"""The queue of one pool: bounded, its places dealt in turn, and left early when it hardly moves.

Who comes while a place is free takes it, also in the tenth of a second until the queue has seen it.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from gateway.inference.place import Place
from monitoring.metrics import Metrics
from serving.errors import UnavailableError
from serving.routing.pace import Pace, expected_wait, retry_after
from serving.sections import RoutingSettings

_LOOK_SECONDS: Final = 0.1
"""How often the queue is looked at, should no place become free: replicas come and go, too."""

Deal = Callable[[], Place | None]
"""Returns a place for one request, None if there is none; raises if there never will be."""


class Lane:
    """Who waits for a replica of one pool, in one gateway worker.

    Args:
        pool: its name.
        routing: how many may wait, and for how long.
        metrics: told who is sent away.
        num_at_work: returns how many places are taken.
        clock: seconds.
    """

    def __init__(
        self,
        pool: str,
        routing: RoutingSettings,
        metrics: Metrics,
        num_at_work: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._routing = routing
        self._metrics = metrics
        self._clock = clock
        self._num_at_work = num_at_work
        self._pace = Pace()
        self._moved_at = 0.0
        """When the queue began to form, or went on last."""
        self._waiting: deque[_Waiter] = deque()
        self._next_look: asyncio.TimerHandle | None = None

    async def wait(self, deal: Deal) -> Place:
        """Return a place as soon as `deal` has one and nobody who came before can take it.

        Raises:
            UnavailableError: the queue is full; it moves so slowly that time would be up before;
                time is up; or what `deal` raises.
        """
        if len(self._waiting) >= self._routing.queue_size:
            raise self._no_room("queue_full")
        if self._is_hopeless():
            raise self._no_room("queue_slow")
        if not self._waiting:
            self._moved_at = self._clock()
        waiter = _Waiter(deal)
        self._waiting.append(waiter)
        self._look_again()
        try:
            async with asyncio.timeout(self._routing.queue_seconds):
                return await waiter.place
        except TimeoutError as error:
            self._withdraw(waiter)
            raise self._no_room("queue_timeout") from error
        except BaseException:
            self._withdraw(waiter)
            raise

    def one_left(self, place: Place, now: float) -> None:
        """Give the place of a request that has ended to who waits.

        Those that were not served say nothing of how fast the queue moves: a replica that refuses
        does so at once.
        """
        if place.has_served:
            self._pace = self._pace.after(now - place.taken_at)
        if self._waiting:
            self._hand_out(most=1)

    def _is_hopeless(self) -> bool:
        wait = expected_wait(len(self._waiting), self._seconds_each())
        return wait is not None and wait > self._routing.queue_seconds

    def _seconds_each(self) -> float | None:
        standing_seconds = self._clock() - self._moved_at if self._waiting else 0.0
        return self._pace.seconds_each(self._num_at_work(), standing_seconds)

    def _hand_out(self, most: int) -> None:
        """Give places to those who wait, in the order in which they came, to `most` of them."""
        for waiter in tuple(self._waiting):
            if not most:
                break
            if waiter.take_turn():
                self._waiting.remove(waiter)
                if waiter.has_place:
                    most -= 1
                    self._moved_at = self._clock()

    def _look_again(self) -> None:
        if self._next_look is None:
            self._next_look = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self._next_look = None
        self._hand_out(most=len(self._waiting))
        if self._waiting:
            self._look_again()

    def _withdraw(self, waiter: "_Waiter") -> None:
        """Forget one who waits no more; a place that it got at the last moment goes to the next."""
        if waiter in self._waiting:
            self._waiting.remove(waiter)
        elif waiter.has_place:
            waiter.place.result().give_back()

    def _no_room(self, reason: str) -> UnavailableError:
        self._metrics.shed(self._pool, reason)
        return UnavailableError(
            "Every engine has as many requests as it may. Try again later.",
            code="no_capacity",
            retry_after=retry_after(len(self._waiting), self._seconds_each()),
        )


class _Waiter:
    def __init__(self, deal: Deal) -> None:
        self.place: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        self._deal = deal

    @property
    def has_place(self) -> bool:
        """Whether a place was dealt to it, taken up or not."""
        is_settled = self.place.done() and not self.place.cancelled()
        return is_settled and self.place.exception() is None

    def take_turn(self) -> bool:
        """Take a place if there is one; return whether the wait is over, one way or the other."""
        if self.place.done():  # given up; it is about to withdraw
            return False
        try:
            place = self._deal()
        except UnavailableError as error:
            self.place.set_exception(error)
            return True
        if place is not None:
            self.place.set_result(place)
        return place is not None
