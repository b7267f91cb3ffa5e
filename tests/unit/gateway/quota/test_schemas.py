"""How many different schemas a key may use."""

import pytest

from gateway.policy.exceptions import FieldChange, changed
from gateway.quota.schemas import USUAL_SCHEMAS, RecentSchemas
from serving.errors import RateLimitError
from serving.routing.catalog import Exceptions, Principal
from serving.types import Role

MINUTE = 60 * 10**9
HOUR = 60 * MINUTE


def owner(key_id: str = "key_a", most: int | None = None) -> Principal:
    """Return whose key may use so many schemas; None: as many as usual."""
    special = None if most is None else changed(Exceptions(), FieldChange(most={"schemas": most}))
    return Principal(key_id=key_id, tenant="acme", role=Role.APP, exceptions=special)


def use(recent: RecentSchemas, *numbers: int, now: int = 0, who: Principal | None = None) -> None:
    """Use these schemas, one after the other."""
    for number in numbers:
        recent.use(who or owner(), number.to_bytes(16), now)


def test_schemas_that_are_known_cost_nothing() -> None:
    """As often as one likes; one more than the most is refused, with its time, and not remembered."""
    recent = RecentSchemas()
    use(recent, *range(USUAL_SCHEMAS), now=5 * MINUTE)
    use(recent, *range(USUAL_SCHEMAS), now=10 * MINUTE)
    for number in (100, 101):
        with pytest.raises(RateLimitError, match="64 different JSON schemas an hour") as refused:
            use(recent, number, now=15 * MINUTE)
        assert (refused.value.code, refused.value.retry_after) == ("rate_limit_exceeded", 55 * 60)
    use(recent, 0, now=15 * MINUTE)
    use(recent, *range(1000, 1064), now=15 * MINUTE, who=owner("key_b"))


def test_what_was_not_used_for_longest_makes_room() -> None:
    """An hour after its last use, not its first; a retry at the time that was told goes through."""
    recent = RecentSchemas()
    who = owner(most=2)
    use(recent, 1, 2, who=who)
    use(recent, 1, now=30 * MINUTE, who=who)
    with pytest.raises(RateLimitError) as refused:
        use(recent, 3, now=31 * MINUTE, who=who)
    assert refused.value.retry_after == 29 * 60
    use(recent, 3, now=HOUR, who=who)
    with pytest.raises(RateLimitError) as refused:
        use(recent, 2, now=HOUR, who=who)
    assert refused.value.retry_after == 30 * 60


def test_an_operator_may_say_how_many() -> None:
    """More or fewer; who has used more than a lower bound waits until there is room below it."""
    recent = RecentSchemas()
    use(recent, *range(100), who=owner(most=100))
    with pytest.raises(RateLimitError, match="100 different"):
        use(recent, 100, who=owner(most=100))
    recent = RecentSchemas()
    for number in range(4):
        use(recent, number, now=number * MINUTE)
    with pytest.raises(RateLimitError, match="2 different") as refused:
        use(recent, 5, now=10 * MINUTE, who=owner(most=2))
    assert refused.value.retry_after == 52 * 60  # the first three have to go


def test_memory_is_bounded_over_all_keys() -> None:
    """The key that was not heard of for longest begins anew; the others are remembered."""
    recent = RecentSchemas()
    for number in range(1025):
        use(recent, 1, who=owner(f"key_{number}", most=1))
    for key_id in ("key_1024", "key_1"):
        with pytest.raises(RateLimitError):
            use(recent, 2, who=owner(key_id, most=1))
    use(recent, 2, who=owner("key_0", most=1))
