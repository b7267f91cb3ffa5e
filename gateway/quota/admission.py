"""A request's place within its key's quota and its alias's budget: taken, and given back.

Exact over all gateway workers of this host. A budget is counted in the database, some seconds late
and for all hosts; each host adds what it has seen itself, and the larger of the two counts.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from math import ceil
from types import TracebackType

from gateway.quota.rules import Limit, Refusal, Standing, decide, left, reservable, taken
from gateway.quota.table import MONTH, REQUESTS_FULL_AT, SPENT, TOKENS_FULL_AT, Row, SharedTable
from serving.errors import InsufficientQuotaError, RateLimitError
from serving.routing.catalog import UNLIMITED, Alias, MonthlyUsage, Principal, Quota, month_number

Headers = list[tuple[bytes, bytes]]


class Quotas:
    """What this worker knows of quotas: the shared counts, and the time."""

    def __init__(
        self,
        table: SharedTable,
        clock: Callable[[], int] = time.monotonic_ns,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.table = table
        self.clock = clock
        self._wall_clock = wall_clock
        self._month = 0
        self._month_ends_at = 0.0

    @property
    def month(self) -> int:
        """The month that budgets are for now."""
        if self._wall_clock() >= self._month_ends_at:
            now = datetime.fromtimestamp(self._wall_clock(), UTC)
            self._month = month_number(now)
            year, month = divmod(self._month + 1, 12)
            self._month_ends_at = datetime(year, month + 1, 1, tzinfo=UTC).timestamp()
        return self._month

    @property
    def seconds_left(self) -> float:
        """Until the next month's budgets."""
        return self._month_ends_at - self._wall_clock()


class Admission:
    """One request's place: `with admission:` is its life at the engines.

    Set `num_used` before the end: the tokens that count, as far as they are known.

    Raises:
        RateLimitError: on entering: a limit a minute, or that of requests at once, is reached.
        InsufficientQuotaError: on entering: the key's or the alias's budget is used up.
    """

    __slots__ = (
        "_alias",
        "_alias_row",
        "_headers",
        "_key_row",
        "_num_reserved",
        "_principal",
        "_quota",
        "_quotas",
        "_usage",
        "num_used",
    )

    def __init__(
        self,
        quotas: Quotas,
        principal: Principal,
        alias: Alias | None,
        usage: MonthlyUsage,
        num_tokens: int,
        headers: Headers,
    ) -> None:
        """Ask for a place.

        Args:
            quotas: this worker's.
            principal: who asks.
            alias: what is asked for; None: a base model.
            usage: what the database has counted this month.
            num_tokens: what the request will probably use.
            headers: the answer's; entering adds what is left.
        """
        self.num_used = 0
        self._quotas = quotas
        self._principal = principal
        self._quota = principal.quota
        self._alias = alias if alias is not None and alias.budget is not None else None
        self._usage = usage
        self._num_reserved = reservable(principal.quota, num_tokens)
        self._headers = headers
        self._key_row: Row | None = None
        self._alias_row: Row | None = None

    def __enter__(self) -> "Admission":
        if self._alias is not None:
            self._check_alias(self._alias)
        if self._quota is not UNLIMITED:
            self._take_place()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._key_row is not None:
            self._leave_place(self._key_row)
        if self._alias_row is not None and self.num_used:
            with self._alias_row as row:
                _spend(row, self._quotas.month, self.num_used)

    def _check_alias(self, alias: Alias) -> None:
        self._alias_row = self._quotas.table.row(f"alias/{alias.id}")
        month = self._quotas.month
        with self._alias_row as row:
            spent = _catch_up(row, month, _counted(self._usage, month, alias.id))
        if alias.budget is not None and spent >= alias.budget:
            words = f"The model {alias.name!r} has used its {alias.budget} tokens of this month."
            raise InsufficientQuotaError(words, retry_after=self._quotas.seconds_left)

    def _take_place(self) -> None:
        now = self._quotas.clock()
        key_row = self._quotas.table.row(self._principal.key_id)
        with key_row as row:
            standing = self._standing(row)
            refusal = decide(self._quota, standing, now, self._num_reserved)
            if refusal is not None and refusal.limit in (Limit.CONCURRENCY, Limit.TOKENS):
                row.forget_dead_workers()
                standing = self._standing(row)
                refusal = decide(self._quota, standing, now, self._num_reserved)
            if refusal is None:
                standing = self._begin(row, standing, now)
                self._key_row = key_row
        self._headers.extend(quota_headers(self._quota, standing, now))
        if refusal is not None:
            raise self._error(refusal)

    def _standing(self, row: Row) -> Standing:
        quota, num_spent = self._quota, 0
        if quota.budget is not None:
            month = self._quotas.month
            counted = _counted(self._usage, month, self._principal.key_id)
            num_spent = _catch_up(row, month, counted)
        return Standing(
            row[REQUESTS_FULL_AT],
            row[TOKENS_FULL_AT],
            0 if quota.concurrency is None else row.num_running,
            0 if quota.tpm is None else row.num_reserved,
            num_spent,
        )

    def _begin(self, row: Row, before: Standing, now: int) -> Standing:
        row.begin(self._num_reserved)
        full_at = before.requests_full_at
        if self._quota.rpm is not None:
            full_at = row[REQUESTS_FULL_AT] = taken(full_at, now, self._quota.rpm, 1)
        reserved = before.num_reserved + self._num_reserved
        return Standing(
            full_at, before.tokens_full_at, before.num_running, reserved, before.num_spent
        )

    def _leave_place(self, key_row: Row) -> None:
        quota, num_used = self._quota, self.num_used
        if quota.tpm is None and quota.budget is None:
            key_row.end(0)  # a cell of this worker's own: nobody else writes it
            return
        with key_row as row:
            if quota.tpm is not None:
                now = self._quotas.clock()
                row[TOKENS_FULL_AT] = taken(row[TOKENS_FULL_AT], now, quota.tpm, num_used)
            if quota.budget is not None:
                _spend(row, self._quotas.month, num_used)
            row.end(self._num_reserved)

    def _error(self, refusal: Refusal) -> RateLimitError:
        quota, wait = self._quota, refusal.wait_seconds
        words = {
            Limit.BUDGET: f"This key has used its {quota.budget} tokens of this month.",
            Limit.CONCURRENCY: f"This key may have {quota.concurrency} requests running at once.",
            Limit.REQUESTS: f"This key may make {quota.rpm} requests a minute.",
            Limit.TOKENS: f"This key may use {quota.tpm} tokens a minute.",
        }[refusal.limit]
        if refusal.limit is Limit.BUDGET:
            return InsufficientQuotaError(words, retry_after=self._quotas.seconds_left)
        return RateLimitError(f"{words} Try again in {ceil(wait * 10) / 10} s.", retry_after=wait)


def quota_headers(quota: Quota, standing: Standing, now: int) -> Headers:
    """Return what is left of the minute, by the names that OpenAI gives it."""
    headers: Headers = []
    if quota.rpm is not None:
        full_at = standing.requests_full_at
        headers += (
            (b"x-ratelimit-limit-requests", b"%d" % quota.rpm),
            (b"x-ratelimit-remaining-requests", b"%d" % left(full_at, now, quota.rpm)),
            (b"x-ratelimit-reset-requests", _seconds(full_at - now)),
        )
    if quota.tpm is not None:
        full_at = standing.tokens_full_at
        remaining = left(full_at, now, quota.tpm) - standing.num_reserved
        headers += (
            (b"x-ratelimit-limit-tokens", b"%d" % quota.tpm),
            (b"x-ratelimit-remaining-tokens", b"%d" % remaining if remaining > 0 else b"0"),
            (b"x-ratelimit-reset-tokens", _seconds(full_at - now)),
        )
    return headers


def _seconds(nanoseconds: int) -> bytes:
    return b"%dms" % -(-nanoseconds // 10**6) if nanoseconds > 0 else b"0ms"


def _counted(usage: MonthlyUsage, month: int, holder: str | int) -> int:
    """Return what the database has counted, if it is of this month."""
    if usage.month != month:
        return 0
    found = usage.by_key.get(holder) if isinstance(holder, str) else usage.by_alias.get(holder)
    return found or 0


def _catch_up(row: Row, month: int, counted: int) -> int:
    """Return what was spent this month: as counted, or as seen here, where that is more."""
    is_of_month = row[MONTH] == month
    seen = row[SPENT] if is_of_month else 0
    if is_of_month and seen >= counted:
        return seen
    row[MONTH], row[SPENT] = month, counted
    return counted


def _spend(row: Row, month: int, num_tokens: int) -> None:
    if row[MONTH] == month:
        row[SPENT] += num_tokens
    else:
        row[MONTH], row[SPENT] = month, num_tokens
