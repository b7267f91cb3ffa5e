"""Ratings without a key: how many one caller may give, whichever worker takes them."""

from pathlib import Path

import pytest

from gateway.quota.addresses import AddressLimiter, caller_of
from gateway.quota.table import SharedTable
from serving.errors import RateLimitError

SECOND = 10**9


def test_what_a_caller_may_rate_is_counted_over_all_workers(tmp_path: Path) -> None:
    """So many a minute; then 429 that says when to come back, from every worker; others may."""
    now = 0
    tables = [SharedTable(tmp_path / "limits") for _ in range(2)]
    one, other = (AddressLimiter(table, b"key", 2, clock=lambda: now) for table in tables)
    one.admit("10.0.0.1")
    other.admit("10.0.0.1")
    now = 20 * SECOND
    for worker in (one, other):
        with pytest.raises(RateLimitError) as caught:
            worker.admit("10.0.0.1")
        assert caught.value.retry_after == 10
    other.admit("10.0.0.2")
    now = 30 * SECOND
    one.admit("10.0.0.1")
    for table in tables:
        table.close()


def test_callers_without_number_take_a_bounded_file(tmp_path: Path) -> None:
    """Addresses are free to who attacks: no number of them fills the disk."""
    table = SharedTable(tmp_path / "limits")
    limiter = AddressLimiter(table, b"key", 10**6)
    for number in range(5000):
        limiter.admit(f"caller {number}")
    table.close()
    assert (tmp_path / "limits").stat().st_size < 4 * 2**20


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("unknown", "unknown", True),
    ],
)
def test_a_caller_is_an_address_or_a_site(one: str, other: str, is_same: bool) -> None:
    """Who has an IPv6 address has 2^64 of them, and the patience of one."""
    assert (caller_of(one) == caller_of(other)) is is_same
