"""Which adapters belong where: pure rules."""

import pytest

from serving.errors import ConflictError
from serving.fleet.placement import (
    check_room,
    desired_adapters,
    is_unloadable,
    with_challenger_promoted,
)
from serving.routing.catalog import Alias, Catalog, Release
from serving.sections import PoolSettings
from serving.store.tables import GatewayWorker
from serving.types import Task


def _release(adapter: str | None, *, pool: str = "small") -> Release:
    return Release(id=1, number=1, pool=pool, adapter=adapter)


def _catalog(*aliases: Alias) -> Catalog:
    return Catalog(revision=7, aliases={(alias.tenant, alias.name): alias for alias in aliases})


def _alias(
    number: int,
    champion: Release,
    challenger: Release | None = None,
    previous: Release | None = None,
) -> Alias:
    return Alias(
        id=number,
        tenant="acme",
        name=f"alias-{number}",
        task=Task.CHAT,
        champion=champion,
        challenger=challenger,
        previous=previous,
    )


def test_a_pool_holds_what_may_get_traffic_from_it() -> None:
    """Champions, challengers and previous; of its own pool; the base model needs nothing."""
    catalog = _catalog(
        _alias(1, _release("a-v2"), _release("a-v3"), _release("a-v1")),
        _alias(2, _release(None), previous=_release("b-v1", pool="large")),
    )
    assert desired_adapters(catalog, "small") == {"a-v1", "a-v2", "a-v3"}
    assert desired_adapters(catalog, "large") == {"b-v1"}
    assert desired_adapters(catalog, "nothing") == set()


@pytest.mark.parametrize(
    ("name", "workers", "expected"),
    [
        ("old-v1", [], True),
        ("old-v1", [(7, {})], True),
        ("old-v1", [(8, {"a-v1": 3})], True),
        ("old-v1", [(7, {"old-v1": 0})], True),
        ("old-v1", [(7, {}), (6, {})], False),
        ("old-v1", [(7, {}), (7, {"old-v1": 1})], False),
        ("a-v1", [], False),
    ],
)
def test_an_adapter_goes_when_nobody_wants_it_and_nobody_uses_it(
    name: str, workers: list[tuple[int, dict[str, int]]], expected: bool
) -> None:
    """Every live worker has the catalogue without it, and none has a request on it."""
    rows = [
        GatewayWorker(id=str(index), host="h", pid=1, revision=revision, in_flight=in_flight)
        for index, (revision, in_flight) in enumerate(workers)
    ]
    assert is_unloadable(_catalog(_alias(1, _release("a-v1"))), "small", name, rows) is expected


@pytest.mark.parametrize(("max_loras", "has_room"), [(3, False), (4, True)])
def test_room_is_for_champions_challengers_and_one_evaluation(
    max_loras: int, has_room: bool
) -> None:
    """Previous releases wait in max_cpu_loras; other pools and the base model do not count."""
    pool = PoolSettings(name="small", max_loras=max_loras)
    catalog = _catalog(
        _alias(1, _release("a-v2"), _release("a-v3"), _release("a-v1")),
        _alias(2, _release("b-v1")),
        _alias(3, _release(None)),
        _alias(4, _release("d-v1", pool="large")),
    )
    if has_room:
        check_room(catalog, pool)
        return
    with pytest.raises(ConflictError, match="Set max_loras to 4"):
        check_room(catalog, pool)


def test_a_promoted_challenger_takes_one_place() -> None:
    """After the flip there is one adapter where two were; other aliases stay."""
    before = _catalog(_alias(1, _release("a-v1"), _release("a-v2")), _alias(2, _release("b-v1")))
    after = with_challenger_promoted(before, 1)
    assert after.aliases["acme", "alias-1"].champion.adapter == "a-v2"
    assert after.aliases["acme", "alias-1"].challenger is None
    assert after.aliases["acme", "alias-2"] == before.aliases["acme", "alias-2"]
    assert with_challenger_promoted(before, 2).aliases == before.aliases
