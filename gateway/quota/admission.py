"""A request's place within its key's quota and its alias's budget: taken, and given back.

Exact over all gateway workers of this host. A budget is counted in the database, some seconds late
and for all hosts; each host adds what it has seen itself, and the larger of the two counts.
"""

import time
from collections.abc import Callable
from math import ceil
from typing import Final, NoReturn

from gateway.quota.calendar import Calendar
from gateway.quota.rules import (
    Limit,
    Refusal,
    given_back,
    left,
    missing_ns,
    reservable,
    taken,
    wait_ns,
)
from gateway.quota.schemas import RecentSchemas
from gateway.quota.table import MONTH, REQUESTS_FULL_AT, SPENT, TOKENS_FULL_AT, Row, SharedTable
from serving.errors import InsufficientQuotaError, RateLimitError
from serving.routing.catalog import UNLIMITED, Alias, MonthlyUsage, Principal, Quota

_SOON_SECONDS: Final = 1.0
_REQUEST_LINES: Final = (
    b"x-ratelimit-limit-requests: %d\r\n"
    b"x-ratelimit-remaining-requests: %d\r\n"
    b"x-ratelimit-reset-requests: %dms\r\n"
)
_TOKEN_LINES: Final = _REQUEST_LINES.replace(b"requests", b"tokens")


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
        self.schemas = RecentSchemas()
        self.calendar = Calendar(wall_clock)


class Admission:
    """One request's place: `with admission:` is its life.

    Entering takes what needs no look at the request: a place among those at once, and one of the
    requests a minute. `reserve` takes the rest as soon as it is known what is asked of whom. What
    it refuses is given back whole; a request that fails for anything else has been one.

    Set `num_used` before the end: the tokens that count, as far as they are known.

    Raises:
        RateLimitError: on entering: a limit of requests, a minute or at once, is reached.
        InsufficientQuotaError: on entering: the key's budget is used up.
        UnavailableError: on entering: the disk has no room to count a key's first request.
    """

    __slots__ = (
        "_alias_row",
        "_key_row",
        "_lines",
        "_num_reserved",
        "_principal",
        "_quota",
        "_quotas",
        "_usage",
        "num_used",
    )

    def __init__(
        self, quotas: Quotas, principal: Principal, usage: MonthlyUsage, lines: bytearray
    ) -> None:
        """Ask for a place.

        Args:
            quotas: this worker's.
            principal: who asks.
            usage: what the database has counted this month.
            lines: the answer's headers. What is left is added when all is taken, or with a refusal.
        """
        self.num_used = 0
        self._quotas = quotas
        self._principal = principal
        self._quota = principal.quota
        self._usage = usage
        self._lines = lines
        self._num_reserved = 0
        self._key_row: Row | None = None
        self._alias_row: Row | None = None

    def __enter__(self) -> "Admission":
        if self._quota is not UNLIMITED:
            self._take_place()
        return self

    def reserve(self, alias: Alias | None, num_tokens: int) -> None:
        """Take tokens, once in a request's life.

        Args:
            alias: what is asked for; None: a base model.
            num_tokens: what the request will probably use.

        Raises:
            RateLimitError: the key's tokens of this minute are used up.
            InsufficientQuotaError: the alias's budget is used up.
        """
        if alias is not None and alias.budget is not None:
            self._check_alias(alias, alias.budget)
        if self._key_row is not None:
            self._take_tokens(self._key_row, num_tokens)

    def use_schemas(self, digest: bytes) -> None:
        """Count what an engine has to compile for the request.

        Raises:
            RateLimitError: the key has used too many others within the hour.
        """
        quotas = self._quotas
        try:
            quotas.schemas.use(self._principal, digest, quotas.clock())
        except RateLimitError:
            self._give_back_request()
            raise

    def __exit__(self, *_: object) -> None:
        if self._key_row is not None:
            self._leave_place(self._key_row)
        if self._alias_row is not None and self.num_used:
            with self._alias_row as row:
                _spend(row.cells, self._quotas.calendar.month, self.num_used)

    def _take_place(self) -> None:
        now = self._quotas.clock()
        row = self._quotas.table.row(self._principal.key_id)
        row.lock()
        try:
            refusal = self._try_place(row, now)
            if refusal is not None and refusal.limit is Limit.CONCURRENCY:
                row.forget_dead_workers()
                refusal = self._try_place(row, now)
        finally:
            row.unlock()
        if refusal is not None:
            self._refuse(row, refusal, now)
        self._key_row = row

    def _try_place(self, row: Row, now: int) -> Refusal | None:
        """Take a place, or say why not. What cannot be waited for within the minute comes first."""
        quota, cells = self._quota, row.cells
        if quota.budget is not None and self._num_spent(cells) >= quota.budget:
            return Refusal(Limit.BUDGET, _SOON_SECONDS)
        if quota.concurrency is not None and row.num_running >= quota.concurrency:
            return Refusal(Limit.CONCURRENCY, _SOON_SECONDS)
        if quota.rpm is not None:
            full_at = taken(cells[REQUESTS_FULL_AT], now, quota.rpm, 1)
            if wait := wait_ns(full_at, now):
                return Refusal(Limit.REQUESTS, wait / 10**9)
            cells[REQUESTS_FULL_AT] = full_at
        row.begin()
        return None

    def _num_spent(self, cells: memoryview) -> int:
        month, usage = self._quotas.calendar.month, self._usage
        counted = usage.by_key.get(self._principal.key_id, 0) if usage.month == month else 0
        return _catch_up(cells, month, counted)

    def _check_alias(self, alias: Alias, budget: int) -> None:
        quotas, usage = self._quotas, self._usage
        month = quotas.calendar.month
        row = quotas.table.row(f"alias/{alias.id}")
        with row:
            counted = usage.by_alias.get(alias.id, 0) if usage.month == month else 0
            spent = _catch_up(row.cells, month, counted)
        if spent >= budget:
            self._give_back_request()
            words = f"The model {alias.name!r} has used its {budget} tokens of this month."
            raise InsufficientQuotaError(words, retry_after=quotas.calendar.seconds_left)
        self._alias_row = row

    def _take_tokens(self, row: Row, num_tokens: int) -> None:
        now, tpm = self._quotas.clock(), self._quota.tpm
        if tpm is not None:
            num_tokens = reservable(tpm, num_tokens)
            row.lock()
            try:
                refusal = _try_tokens(row, tpm, num_tokens, now)
                if refusal is not None:
                    row.forget_dead_workers()
                    refusal = _try_tokens(row, tpm, num_tokens, now)
            finally:
                row.unlock()
            if refusal is not None:
                self._give_back_request()
                self._refuse(row, refusal, now)
            self._num_reserved = num_tokens
        self._lines += quota_lines(self._quota, row, now)

    def _give_back_request(self) -> None:
        """Have a refusal cost nothing: whoever comes again when told must not find another one."""
        if self._key_row is not None and self._quota.rpm is not None:
            with self._key_row as row:
                full_at = row.cells[REQUESTS_FULL_AT]
                row.cells[REQUESTS_FULL_AT] = given_back(full_at, self._quota.rpm, 1)

    def _leave_place(self, row: Row) -> None:
        quota, cells = self._quota, row.cells
        if quota.tpm is None and quota.budget is None:
            row.end(0)  # a cell of this worker's own: nobody else writes it
            return
        row.lock()
        try:
            if quota.tpm is not None:
                now = self._quotas.clock()
                cells[TOKENS_FULL_AT] = taken(cells[TOKENS_FULL_AT], now, quota.tpm, self.num_used)
            if quota.budget is not None:
                _spend(cells, self._quotas.calendar.month, self.num_used)
            row.end(self._num_reserved)
        finally:
            row.unlock()

    def _refuse(self, row: Row, refusal: Refusal, now: int) -> NoReturn:
        self._lines += quota_lines(self._quota, row, now)
        raise self._error(refusal)

    def _error(self, refusal: Refusal) -> RateLimitError:
        quota, wait = self._quota, refusal.wait_seconds
        words = {
            Limit.BUDGET: f"This key has used its {quota.budget} tokens of this month.",
            Limit.CONCURRENCY: f"This key may have {quota.concurrency} requests running at once.",
            Limit.REQUESTS: f"This key may make {quota.rpm} requests a minute.",
            Limit.TOKENS: f"This key may use {quota.tpm} tokens a minute.",
        }[refusal.limit]
        if refusal.limit is Limit.BUDGET:
            return InsufficientQuotaError(words, retry_after=self._quotas.calendar.seconds_left)
        return RateLimitError(f"{words} Try again in {ceil(wait * 10) / 10} s.", retry_after=wait)


def quota_lines(quota: Quota, row: Row, now: int) -> bytes:
    """Return the headers that say what is left of the minute, by the names that OpenAI gives it."""
    lines = b""
    if quota.rpm is not None:
        missing = missing_ns(row.cells[REQUESTS_FULL_AT], now)
        lines = _REQUEST_LINES % (quota.rpm, left(missing, quota.rpm), -(-missing // 10**6))
    if quota.tpm is not None:
        missing = missing_ns(row.cells[TOKENS_FULL_AT], now)
        remaining = max(left(missing, quota.tpm) - row.num_reserved, 0)
        lines += _TOKEN_LINES % (quota.tpm, remaining, -(-missing // 10**6))
    return lines


def _try_tokens(row: Row, tpm: int, num_tokens: int, now: int) -> Refusal | None:
    """Reserve tokens, or say why not."""
    together = row.num_reserved + num_tokens
    if wait := wait_ns(taken(row.cells[TOKENS_FULL_AT], now, tpm, together), now):
        return Refusal(Limit.TOKENS, wait / 10**9)
    row.reserve(num_tokens)
    return None


def _catch_up(cells: memoryview, month: int, counted: int) -> int:
    """Return what was spent this month: as counted, or as seen here, where that is more."""
    is_of_month = cells[MONTH] == month
    seen = cells[SPENT] if is_of_month else 0
    if is_of_month and seen >= counted:
        return seen
    cells[MONTH], cells[SPENT] = month, counted
    return counted


def _spend(cells: memoryview, month: int, num_tokens: int) -> None:
    if cells[MONTH] == month:
        cells[SPENT] += num_tokens
    else:
        cells[MONTH], cells[SPENT] = month, num_tokens
