"""What a request needs of a replica, and the place that it gets there."""

from asyncio import CancelledError
from types import TracebackType
from typing import Protocol, Self

import msgspec

from monitoring.metrics import Served
from serving.errors import EngineError
from serving.routing.ejection import Standing


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a request needs of a replica."""

    pool: str
    adapter: str | None
    served: Served
    """As metrics call it, should it have to wait."""
    session: str | None = None
    """What keeps it at one replica; None: nothing."""
    tried: tuple[str, ...] = ()
    """Replicas that are not to be asked again."""


class Desk(Protocol):
    """Who deals places."""

    def take_back(self, place: "Place") -> None:
        """Send a replica requests again: it has begun to answer its trial."""

    def leave(self, place: "Place") -> None:
        """Have a place free for another request."""


class Place:
    """A request's place at `replica`, held while the block runs, or until `end_well`.

    An EngineError that leaves the block counts against the replica, a block that comes to its end
    speaks for it; all else (the client has left) says nothing.
    """

    def __init__(
        self,
        pool: str,
        replica: str,
        *,
        taken_at: float,
        trial_of: Standing | None,
        desk: "Desk",
    ) -> None:
        self.pool = pool
        self.replica = replica
        self.taken_at = taken_at
        self.trial_of = trial_of
        """How its replica stood, if this request is to show whether it is well again."""
        self.is_well: bool | None = None
        """What the request says of its replica, once it has ended; None: nothing."""
        self.has_served = False
        """Whether the replica was at work for the request until that was over, or its client left."""
        self._has_begun = self._has_left = False
        self._desk = desk

    def fail(self) -> None:
        """Count what happened against the replica, though no error leaves the block."""
        self.is_well = False

    def begin_answer(self) -> None:
        """Note that an answer comes: others need not wait for the end of a trial."""
        if self.trial_of is not None and not self._has_begun:
            self._has_begun = True
            self._desk.take_back(self)

    def end_well(self) -> None:
        """Leave before the block ends: the replica has done its part."""
        self.is_well = self.has_served = True
        self._has_left = True
        self._desk.leave(self)

    def give_back(self) -> None:
        """Leave without having asked the replica anything."""
        self._desk.leave(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._has_left:
            return
        if isinstance(error, EngineError):
            self.is_well = False
        elif error is None and self.is_well is None:
            self.is_well = self.has_served = True
        elif isinstance(error, CancelledError):
            self.has_served = True
        self._desk.leave(self)
