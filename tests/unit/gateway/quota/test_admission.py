"""A request's place in its key's quota, with several workers' tables on one file."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.quota.admission import Admission, Quotas
from gateway.quota.table import SharedTable
from serving.errors import InsufficientQuotaError, RateLimitError
from serving.routing.catalog import (
    Alias,
    MonthlyUsage,
    Principal,
    Quota,
    Release,
    month_number,
)
from serving.types import Role, Task

SECOND = 10**9
EVE = datetime(2026, 12, 31, 23, 59, 30, tzinfo=UTC)
ALIAS = Alias(
    id=7,
    tenant="acme",
    name="support",
    task=Task.CHAT,
    champion=Release(id=1, number=1, pool="p"),
    budget=100,
)


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 5 * SECOND

    def monotonic(self) -> int:
        """Nanoseconds since anything."""
        return self.now

    def wall(self) -> float:
        """Seconds since 1970: half a minute before the year ends, and what went by."""
        return EVE.timestamp() + (self.now - 5 * SECOND) / SECOND


@pytest.fixture
def clock() -> Clock:
    """One clock for all workers."""
    return Clock()


Start = Callable[[], Quotas]


@pytest.fixture
def start(tmp_path: Path, clock: Clock) -> Iterator[Start]:
    """Start another worker on the same home."""
    tables = []

    def start() -> Quotas:
        tables.append(SharedTable(tmp_path / "limits"))
        return Quotas(tables[-1], clock.monotonic, clock.wall)

    yield start
    for table in tables:
        table.close()


def owner(quota: Quota, key: str = "key_a") -> Principal:
    """Return whose key has that quota."""
    return Principal(key_id=key, tenant="acme", role=Role.APP, quota=quota)


def headers_in(lines: bytes | bytearray) -> dict[bytes, bytes]:
    """Read headers as they stand in a head."""
    pairs = (line.partition(b": ") for line in bytes(lines).splitlines())
    return {name: value for name, _, value in pairs}


@contextmanager
def ask(
    quotas: Quotas,
    quota: Quota,
    *,
    key: str = "key_a",
    num_tokens: int = 10,
    alias: Alias | None = None,
    usage: MonthlyUsage | None = None,
    lines: bytearray | None = None,
) -> Iterator[Admission]:
    """Be a request, from its entry on."""
    told = bytearray() if lines is None else lines
    with Admission(quotas, owner(quota, key), usage or MonthlyUsage(), told) as admission:
        admission.reserve(alias, num_tokens)
        yield admission


def test_requests_at_once_are_counted_over_workers(start: Start) -> None:
    """Two places are two, whoever takes them; a place given back is free; keys do not share."""
    first, second = start(), start()
    quota = Quota(concurrency=2)
    with ask(first, quota), ask(second, quota):
        for quotas in (first, second):
            with pytest.raises(RateLimitError) as refused, ask(quotas, quota):
                pass
            assert (refused.value.code, refused.value.retry_after) == ("rate_limit_exceeded", 1.0)
        with ask(first, quota, key="key_b"):
            pass
    with ask(first, quota), ask(first, quota):
        pass


def test_requests_a_minute_are_shared_and_come_back_evenly(start: Start, clock: Clock) -> None:
    """Half the minute brings back half of them; a refusal costs none and says when."""
    first, second = start(), start()
    quota = Quota(rpm=4)
    for quotas in (first, second, first, second):
        with ask(quotas, quota):
            pass
    for _ in range(3):
        with pytest.raises(RateLimitError, match="4 requests a minute") as refused:
            ask(first, quota).__enter__()
    assert refused.value.retry_after == 15
    clock.now += 30 * SECOND
    for quotas in (first, second):
        with ask(quotas, quota):
            pass
    with pytest.raises(RateLimitError):
        ask(second, quota).__enter__()


def test_tokens_are_reserved_and_settled(start: Start, clock: Clock) -> None:
    """While it runs a request holds what it asked for; then what it used, more or less."""
    first, second = start(), start()
    quota = Quota(tpm=100)
    lines = bytearray()
    with ask(first, quota, num_tokens=90, lines=lines) as admission:
        assert headers_in(lines)[b"x-ratelimit-remaining-tokens"] == b"10"
        with pytest.raises(RateLimitError, match="100 tokens a minute"):
            ask(second, quota, num_tokens=20).__enter__()
        admission.num_used = 30
    with ask(second, quota, num_tokens=70) as admission:
        admission.num_used = 170
    with pytest.raises(RateLimitError) as refused:
        ask(first, quota, num_tokens=10).__enter__()
    assert refused.value.retry_after == 66  # 100 too many, and 10: 60 s are 100 tokens
    clock.now += 66 * SECOND
    with ask(first, quota, num_tokens=10):
        pass


def test_what_is_left_is_told_as_openai_does(start: Start) -> None:
    """With the answer and with the refusal; nothing where there is no limit."""
    quotas = start()
    lines = bytearray()
    with ask(quotas, Quota(rpm=2, tpm=1000, concurrency=1), num_tokens=400, lines=lines):
        assert headers_in(lines) == {
            b"x-ratelimit-limit-requests": b"2",
            b"x-ratelimit-remaining-requests": b"1",
            b"x-ratelimit-reset-requests": b"30000ms",
            b"x-ratelimit-limit-tokens": b"1000",
            b"x-ratelimit-remaining-tokens": b"600",
            b"x-ratelimit-reset-tokens": b"0ms",
        }
        refused = bytearray()
        with pytest.raises(RateLimitError):
            ask(quotas, Quota(rpm=2, concurrency=1), lines=refused).__enter__()
        assert headers_in(refused)[b"x-ratelimit-remaining-requests"] == b"1"
    with ask(quotas, Quota(), lines=(untold := bytearray())):
        assert not untold


def test_a_budget_ends_with_its_month(start: Start, clock: Clock) -> None:
    """Used up here or as the database counts, whichever is more; the next month begins at zero."""
    first, second = start(), start()
    quota = Quota(budget=100)
    december = month_number(EVE)
    counted = MonthlyUsage(month=december, by_key={"key_a": 60})
    with ask(first, quota, usage=counted) as admission:
        admission.num_used = 39
    with ask(second, quota) as admission:  # of an older catalogue: this host has seen 99
        admission.num_used = 1
    with pytest.raises(InsufficientQuotaError, match="100 tokens of this month") as refused:
        ask(second, quota, usage=counted).__enter__()
    assert refused.value.code == refused.value.kind == "insufficient_quota"
    assert refused.value.retry_after == 30
    clock.now += 31 * SECOND
    with ask(second, quota, usage=counted):
        pass


def test_an_alias_has_a_budget_of_all_its_callers(start: Start) -> None:
    """Also of those whose keys have no limit at all."""
    quotas = start()
    for key in ("key_a", "key_b"):
        with ask(quotas, Quota(), key=key, alias=ALIAS) as admission:
            admission.num_used = 50
    with pytest.raises(InsufficientQuotaError, match="'support' has used its 100 tokens"):
        ask(quotas, Quota(rpm=5), alias=ALIAS).__enter__()
    with ask(quotas, Quota()):  # the base
        pass


def test_a_refused_request_takes_nothing(start: Start) -> None:
    """Whichever limit it runs into, all the others stay as they were."""
    quotas = start()
    quota = Quota(rpm=10, concurrency=1, tpm=100)
    lines = bytearray()
    with ask(quotas, quota, num_tokens=5):
        for _ in range(5):
            with pytest.raises(RateLimitError):
                ask(quotas, quota, num_tokens=5).__enter__()
    with ask(quotas, quota, num_tokens=5, lines=lines):
        assert headers_in(lines)[b"x-ratelimit-remaining-requests"] == b"8"
        assert headers_in(lines)[b"x-ratelimit-remaining-tokens"] == b"95"


def test_what_is_refused_for_its_tokens_is_no_request(start: Start) -> None:
    """A key that comes again when it was told to finds its request a minute still there."""
    quotas = start()
    quota = Quota(rpm=2, tpm=100)
    with ask(quotas, quota, num_tokens=100):
        for alias in (None, replace(ALIAS, budget=0)):
            lines = bytearray()
            with pytest.raises(RateLimitError):
                ask(quotas, quota, num_tokens=1, alias=alias, lines=lines).__enter__()
            assert headers_in(lines).get(b"x-ratelimit-remaining-requests", b"1") == b"1"
        with pytest.raises(RateLimitError, match="tokens"):
            ask(quotas, quota, num_tokens=1).__enter__()


def test_a_request_counts_before_anybody_looks_at_it(start: Start) -> None:
    """Its place and its minute's share are taken on entering: bad ones cost as much as good ones."""
    quotas = start()
    principal = owner(Quota(rpm=2, concurrency=1, tpm=100))
    with Admission(quotas, principal, MonthlyUsage(), bytearray()), pytest.raises(RateLimitError):
        Admission(quotas, principal, MonthlyUsage(), bytearray()).__enter__()
    with (
        pytest.raises(ValueError, match="bad"),
        Admission(quotas, principal, MonthlyUsage(), bytearray()),
    ):
        raise ValueError("bad")
    lines = bytearray()
    with pytest.raises(RateLimitError, match="2 requests a minute"):
        Admission(quotas, principal, MonthlyUsage(), lines).__enter__()
    assert headers_in(lines)[b"x-ratelimit-remaining-requests"] == b"0"
    assert headers_in(lines)[b"x-ratelimit-remaining-tokens"] == b"100"


def test_each_limit_refuses_in_its_turn(start: Start) -> None:
    """What cannot be waited for within the minute comes first."""
    quotas = start()
    quota = Quota(rpm=1, tpm=1, concurrency=1, budget=1)
    running = Admission(quotas, owner(quota), MonthlyUsage(), bytearray()).__enter__()
    running.reserve(None, 1)
    counted = MonthlyUsage(month=month_number(EVE), by_key={"key_a": 1})
    for name, words in (
        ("budget", "tokens of this month"),
        ("concurrency", "running at once"),
        ("rpm", "requests a minute"),
        ("tpm", "tokens a minute"),
    ):
        with pytest.raises(RateLimitError, match=words):
            ask(quotas, quota, num_tokens=1, usage=counted).__enter__()
        quota = replace(quota, **{name: None})
    with ask(quotas, Quota(), num_tokens=1, usage=counted):
        pass


def test_a_worker_that_is_gone_holds_no_place(start: Start) -> None:
    """Its places are free at once, and its column is clean for whoever gets it next."""
    first, second = start(), start()
    quota = Quota(concurrency=1, tpm=100)
    Admission(second, owner(quota), MonthlyUsage(), bytearray()).__enter__().reserve(None, 100)
    with pytest.raises(RateLimitError):
        ask(first, quota).__enter__()
    second.table.close()
    with ask(first, quota, num_tokens=100):
        pass
    third = start()
    assert third.table.column == 1
    with ask(third, quota, num_tokens=100), pytest.raises(RateLimitError):
        ask(first, quota).__enter__()


def test_alone_again_a_worker_begins_anew(start: Start) -> None:
    """After the last worker of a host the file means nothing: its clock may have been another."""
    quotas = start()
    with ask(quotas, Quota(rpm=1)):
        pass
    quotas.table.close()
    with ask(start(), Quota(rpm=1)):
        pass
