"""A child process that is to be kept alive: what it is, where it stands, how fast we react."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from serving.pause import pause_seconds


class ChildState(StrEnum):
    """Where a child stands."""

    STARTING = "starting"  # its process runs and is not ready yet
    RUNNING = "running"  # ready
    BACKING_OFF = "backing_off"  # ended; started again after a pause
    STOPPED = "stopped"  # ended because we wanted it to, or given up


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildStatus:
    """What `strop up` shows of a child."""

    name: str
    state: ChildState = ChildState.STOPPED
    pid: int | None = None
    """Of the child itself, while it lives."""
    num_restarts: int = 0
    exit_status: int | None = None
    """How it last ended: its exit status, 128 + n after signal n."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A child to be kept alive.

    Attributes:
        name: also the name of its log, `<name>.log`.
        env: its whole environment.
        is_ready: asks whether it is up; None: it is once it has lived `Pace.settle_seconds`.
        start_seconds: a start that takes longer has failed.
        stop_seconds: from SIGTERM to SIGKILL.
        patience_seconds: one that was ready and is not for so long is killed; None: never.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    is_ready: Callable[[], Awaitable[bool]] | None = None
    start_seconds: float = 900.0
    stop_seconds: float = 30.0
    patience_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast the supervisor reacts, seconds."""

    poll_seconds: float = 0.25
    look_seconds: float = 5.0
    """Between two looks at a child that was ready."""
    settle_seconds: float = 2.0
    first_pause_seconds: float = 0.5
    longest_pause_seconds: float = 30.0
    forgive_seconds: float = 60.0
    """A child that was ready for so long has its earlier deaths forgiven."""
    max_first_deaths: int = 3
    """So many deaths in a row before it was ever ready, and we give up."""

    def pause_seconds(self, num_deaths: int) -> float:
        """Return the pause after the n-th death in a row."""
        return pause_seconds(num_deaths, self.first_pause_seconds, self.longest_pause_seconds)
