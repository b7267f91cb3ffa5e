"""A place for each request at one of the replicas that can answer it, or a turn in the queue.

What decides is pure and stands in serving/routing: which replica, which of them are out because
they fail. Here is what they decide on, for one gateway worker: what runs where, and how each replica
did. Plain memory; who finds every replica taken waits in the pool's lane.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from math import ceil
from typing import Final

from gateway.inference.lane import Lane
from gateway.inference.place import Place, Wanted
from monitoring.metrics import Metrics
from serving.errors import UnavailableError
from serving.fleet.proof import Prover
from serving.routing.ejection import EjectionRules, Standing, answered, failed, left_open, sent
from serving.routing.replicas import pick_replica
from serving.settings import Settings

logger = logging.getLogger("strop.gateway")

_NO_ENGINE_SECONDS: Final = 2.0


class Dispatcher:
    """Deals places at replicas to the requests of one gateway worker.

    Args:
        prover: knows which replicas can answer what.
        settings: the configuration.
        metrics: told who waits and who is sent away.
        clock: seconds.
    """

    def __init__(
        self,
        prover: Prover,
        settings: Settings,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._prover = prover
        self._rules = EjectionRules(
            eject_after=settings.routing.eject_after, eject_seconds=settings.routing.eject_seconds
        )
        self._metrics = metrics
        self._clock = clock
        self._load: Counter[str] = Counter()
        self._standings: dict[str, Standing] = {}  # of those that have failed of late
        self._num_dealt = 0
        self._max_in_flight = {
            pool.name: ceil(pool.max_in_flight / settings.gateway.workers)
            for pool in settings.all_pools
        }
        self._lanes = {
            pool.name: Lane(
                pool.name, settings.routing, metrics, partial(self._num_at_work, pool.name), clock
            )
            for pool in settings.all_pools
        }

    async def take(self, wanted: Wanted) -> Place:
        """Return a place, at once if there is one; enter it before anything else is waited for.

        Raises:
            UnavailableError: no replica can answer; or the queue is full, moves too slowly, or was
                waited in for `routing.queue_seconds`.
        """
        place = self._deal(wanted)
        if place is None:
            with self._metrics.of(wanted.served, wanted.pool).queueing():
                place = await self._lanes[wanted.pool].wait(partial(self._deal, wanted))
        return place

    def has_another(self, wanted: Wanted) -> bool:
        """Whether a replica that was not tried can answer, and is not out because it fails."""
        now = self._clock()
        return any(
            url not in wanted.tried and self._takes_requests(url, now)
            for url in self._prover.replicas_for(wanted.pool, wanted.adapter)
        )

    def take_back(self, place: Place) -> None:
        """Send a replica requests again, whose trial has begun to be answered."""
        if self._standings.pop(place.replica, None) is not None:
            logger.info("%s answers again", place.replica)

    def leave(self, place: Place) -> None:
        """Judge a replica by a request that has ended; its place is another one's."""
        now = self._clock()
        self._load[place.replica] -= 1
        self._judge(place, now)
        self._lanes[place.pool].one_left(place, now)

    def load_of(self, replica: str) -> int:
        """Return how many requests are at a replica now."""
        return self._load[replica]

    def is_ejected(self, replica: str) -> bool:
        """Whether a replica gets no traffic, or but one request, because it failed."""
        return not self._standings.get(replica, Standing()).is_in

    def _deal(self, wanted: Wanted) -> Place | None:
        """Return a place; None if every replica has as many requests as it may."""
        now = self._clock()
        replica = pick_replica(
            self._candidates(wanted, now),
            self._load,
            max_in_flight=self._max_in_flight[wanted.pool],
            session=wanted.session,
        )
        if replica is None:
            return None
        self._load[replica] += 1
        self._num_dealt += 1
        trial_of = None
        if (before := self._standings.get(replica)) is not None:
            self._standings[replica] = sent(before, now)
            trial_of = before if self._standings[replica] != before else None
        return Place(wanted.pool, replica, taken_at=now, trial_of=trial_of, desk=self)

    def _num_at_work(self, pool: str) -> int:
        return sum(self._load[url] for url in self._prover.replicas_for(pool, None))

    def _candidates(self, wanted: Wanted, now: float) -> Sequence[str]:
        """Return the replicas that can answer, without those that are out while others are not.

        Raises:
            UnavailableError: there is none.
        """
        proved: Sequence[str] = self._prover.replicas_for(wanted.pool, wanted.adapter)
        if wanted.tried:
            proved = [url for url in proved if url not in wanted.tried]
        if not proved:
            raise no_engine()
        if self._standings:
            # Where all are out, none is: a refusal would be no better than their failures.
            well = [url for url in proved if self._takes_requests(url, now)]
            proved = well or proved
        if len(proved) > 1:
            first = self._num_dealt % len(proved)  # among equals, each in turn
            proved = (*proved[first:], *proved[:first])
        return proved

    def _takes_requests(self, replica: str, now: float) -> bool:
        standing = self._standings.get(replica)
        return standing is None or standing.takes_requests(now)

    def _judge(self, place: Place, now: float) -> None:
        replica = place.replica
        if place.is_well and replica not in self._standings:
            return  # as nearly always
        before = self._standings.get(replica, Standing())
        if place.trial_of is not None and before.is_in and place.is_well is False:
            before = place.trial_of  # taken back for how the answer began, and not for how it ended
        if place.is_well is None:
            after = left_open(before) if place.trial_of else before
        else:
            after = answered() if place.is_well else failed(before, now, self._rules)
        if after == Standing():
            self._standings.pop(replica, None)
        else:
            self._standings[replica] = after
        if after.num_ejections > before.num_ejections:
            self._metrics.failed("ejection")
            logger.warning(
                "%s failed %d times in a row: it gets no traffic for %.3g s, if another can take it",
                replica,
                after.num_failures,
                after.out_until - now,
            )
        elif before.num_ejections and after.is_in:
            logger.info("%s answers again", replica)


def no_engine() -> UnavailableError:
    """The answer when no replica is left that could give one."""
    return UnavailableError(
        "No engine can answer for this model now. Try again in a moment.",
        code="no_engine",
        retry_after=_NO_ENGINE_SECONDS,
    )
