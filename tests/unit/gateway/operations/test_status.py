"""What status says of a month: tokens, and their cost where a price is known."""

from typing import Any

from gateway.operations.status import describe_usage
from serving.settings import Settings
from serving.store.usage import AliasUsage

HOUR_MS = 3_600_000


def used(pool: str, tokens: int, hours: float) -> AliasUsage:
    """Return so much use of a pool."""
    return AliasUsage(alias_id=1, pool=pool, tokens=tokens, busy_ms=hours * HOUR_MS)


def settings(*pools: dict[str, Any]) -> Settings:
    """Return a configuration with these pools."""
    described = [{"base_model": "any", "served_name": pool["name"], **pool} for pool in pools]
    return Settings.model_validate({"pools": described})


def test_tokens_and_hours_add_up_over_pools() -> None:
    """Each pool's hours at its own price: that of a GPU, times the GPUs of a replica."""
    found = describe_usage(
        [used("small", 100, 0.5), used("large", 20, 2)],
        settings(
            {"name": "small", "price_per_gpu_hour": 1.5},
            {"name": "large", "price_per_gpu_hour": 2.0, "gpus": 4},
        ),
    )
    assert found == {"tokens_this_month": 120, "cost_this_month": 16.75}


def test_a_pool_without_a_price_costs_nothing() -> None:
    """Nor does one that was taken out of the configuration; their tokens count all the same."""
    found = describe_usage(
        [used("free", 1, 1), used("priced", 2, 0.12345), used("gone", 4, 1)],
        settings({"name": "free"}, {"name": "priced", "price_per_gpu_hour": 1.0}),
    )
    assert found == {"tokens_this_month": 7, "cost_this_month": 0.1235}


def test_where_nothing_has_a_price_there_is_no_cost() -> None:
    """None, and not 0, which would say that it was free; with a price, nothing used costs 0."""
    unpriced = settings({"name": "free"})
    assert describe_usage([used("free", 5, 1)], unpriced) == {
        "tokens_this_month": 5,
        "cost_this_month": None,
    }
    priced = settings({"name": "priced", "price_per_gpu_hour": 1.0})
    assert describe_usage([], priced) == {"tokens_this_month": 0, "cost_this_month": 0}
