"""Which replicas get no traffic because they fail: pure, from one verdict to the next.

in ──`eject_after` failures in a row──► out ──pause over──► half open ──answered──► in
                                         ▲                      │
                                         └───failed, twice as long───┘
"""

from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec.structs import replace

from serving.pause import pause_seconds

_LONGEST_PAUSE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EjectionRules:
    """When a replica is out, and for how long."""

    eject_after: int = 5
    """Failures in a row."""
    eject_seconds: float = 2.0
    """The first pause; each that follows without an answer between is twice as long."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How one replica has done lately. A new one is in good standing."""

    num_failures: int = 0
    """In a row."""
    num_ejections: int = 0
    """In a row, without an answer between them."""
    out_until: float = 0.0
    """Seconds of the clock that the verdicts are dated by."""
    is_on_trial: bool = False
    """Whether the one request that a half-open replica gets is under way."""

    @property
    def is_in(self) -> bool:
        """Whether it gets traffic like any other."""
        return self.num_ejections == 0

    def takes_requests(self, now: float) -> bool:
        """Whether it may be sent a request: it is in, or half open and not on trial yet."""
        return self.is_in or (now >= self.out_until and not self.is_on_trial)


def sent(standing: Standing, now: float) -> Standing:
    """Return the standing once a request is on its way: on a half-open replica, its trial."""
    is_trial = not standing.is_in and now >= standing.out_until
    return replace(standing, is_on_trial=True) if is_trial else standing


def answered() -> Standing:
    """Return the standing after an answer that was whole: whatever was before is forgiven."""
    return Standing()


def left_open(standing: Standing) -> Standing:
    """Return the standing after a request that says nothing of the replica: its client left."""
    return replace(standing, is_on_trial=False)


def failed(standing: Standing, now: float, rules: EjectionRules) -> Standing:
    """Return the standing after a failure of the replica's own making."""
    num_failures = standing.num_failures + 1
    if standing.is_in and num_failures < rules.eject_after:
        return replace(standing, num_failures=num_failures)
    if not standing.is_in and now < standing.out_until:
        # A request from before it was put out: that it fails as well is no news.
        return replace(standing, num_failures=num_failures)
    num_ejections = standing.num_ejections + 1
    pause = pause_seconds(num_ejections, rules.eject_seconds, _LONGEST_PAUSE_SECONDS)
    return Standing(num_failures=num_failures, num_ejections=num_ejections, out_until=now + pause)
