"""Whether a request is within its key's quota: pure arithmetic on times and counts.

A rate is a bucket that holds a minute's worth and is refilled evenly. It is kept as one number: the
moment at which it will be full again (what GCRA, ITU-T I.371, calls the theoretical arrival time).
So in any stretch of t minutes at most `limit * (t + 1)` goes through, and what rests is never lost.

Tokens are known only afterwards. Until then a request reserves an estimate, which nobody else can
have, and takes nothing: what it then really used is taken when it ends. As long as no request uses
more than it reserved, the bound above holds for tokens too; one that does leaves a debt, and the
next one waits for it.
"""

from enum import StrEnum
from typing import Final, NamedTuple

MINUTE_NS: Final = 60 * 10**9


class Limit(StrEnum):
    """What a request may run into."""

    BUDGET = "budget"
    CONCURRENCY = "concurrency"
    REQUESTS = "requests"
    TOKENS = "tokens"


class Refusal(NamedTuple):
    """Which limit is reached, and when a retry makes sense."""

    limit: Limit
    wait_seconds: float


def reservable(tpm: int, num_tokens: int) -> int:
    """Return what a request reserves: a full bucket lets any request through, however large."""
    return min(num_tokens, tpm)


def missing_ns(full_at: int, now: int) -> int:
    """Return how long until the bucket is full."""
    # Not `max`: a request would call it a dozen times, a microsecond in all.
    return full_at - now if full_at > now else 0


def taken(full_at: int, now: int, limit: int, cost: int) -> int:
    """Return when the bucket is full again after `cost` was taken, be it more than was in it."""
    return now + missing_ns(full_at, now) + cost * MINUTE_NS // limit


def given_back(full_at: int, limit: int, cost: int) -> int:
    """Return when the bucket is full again if `cost` was not taken after all."""
    return full_at - cost * MINUTE_NS // limit


def wait_ns(full_at: int, now: int) -> int:
    """Return how long until all that was taken was there to take; 0: it was."""
    return missing_ns(full_at, now + MINUTE_NS)


def left(missing: int, limit: int) -> int:
    """Return how much is in a bucket that is full in `missing` ns; nothing where there is a debt."""
    return limit * (MINUTE_NS - missing) // MINUTE_NS if missing < MINUTE_NS else 0
