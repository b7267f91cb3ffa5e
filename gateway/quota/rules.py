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

from serving.routing.catalog import Quota

MINUTE_NS: Final = 60 * 10**9
_SOON_SECONDS: Final = 1.0


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


class Standing(NamedTuple):
    """What a key has in use. Moments are nanoseconds of a clock that never jumps."""

    requests_full_at: int = 0
    tokens_full_at: int = 0
    num_running: int = 0
    num_reserved: int = 0
    """Tokens reserved by what runs."""
    num_spent: int = 0
    """Tokens used this month."""


def decide(quota: Quota, standing: Standing, now: int, num_tokens: int) -> Refusal | None:
    """Return why a request has to wait; None: it may begin.

    Args:
        now: nanoseconds, by the clock of `standing`.
        num_tokens: what it will probably use, at most `reservable(quota, ...)`.
    """
    if quota.budget is not None and standing.num_spent >= quota.budget:
        return Refusal(Limit.BUDGET, _SOON_SECONDS)
    if quota.concurrency is not None and standing.num_running >= quota.concurrency:
        return Refusal(Limit.CONCURRENCY, _SOON_SECONDS)
    if quota.rpm is not None:
        wait = wait_ns(standing.requests_full_at, now, quota.rpm, 1)
        if wait:
            return Refusal(Limit.REQUESTS, wait / 10**9)
    if quota.tpm is not None:
        needed = standing.num_reserved + num_tokens
        wait = wait_ns(standing.tokens_full_at, now, quota.tpm, needed)
        if wait:
            return Refusal(Limit.TOKENS, wait / 10**9)
    return None


def reservable(quota: Quota, num_tokens: int) -> int:
    """Return what a request reserves: a full bucket lets any request through, however large."""
    return 0 if quota.tpm is None else min(num_tokens, quota.tpm)


def wait_ns(full_at: int, now: int, limit: int, cost: int) -> int:
    """Return how long until `cost` is in the bucket; 0: it is."""
    # Here and below with few calls of `max`: a request would have a dozen, 2 us in all.
    missing = full_at - now if full_at > now else 0
    return max(0, missing + cost * MINUTE_NS // limit - MINUTE_NS)


def taken(full_at: int, now: int, limit: int, cost: int) -> int:
    """Return when the bucket is full again after `cost` was taken, be it more than was in it."""
    missing = full_at - now if full_at > now else 0
    return now + missing + cost * MINUTE_NS // limit


def left(full_at: int, now: int, limit: int) -> int:
    """Return how much is in the bucket; nothing where there is a debt."""
    missing = full_at - now if full_at > now else 0
    return limit * (MINUTE_NS - missing) // MINUTE_NS if missing < MINUTE_NS else 0
