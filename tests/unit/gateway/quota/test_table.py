"""The file of limits: rows and columns for everybody who comes."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from annotated_types import Le

from gateway.quota.table import SPENT, SharedTable
from serving.sections import GatewaySettings

Start = Callable[[], SharedTable]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Have another worker open the file."""
    tables = []

    def start() -> SharedTable:
        tables.append(SharedTable(tmp_path / "limits"))
        return tables[-1]

    yield start
    for table in tables:
        table.close()


def test_every_worker_can_be_replaced_while_it_leaves(start: Start) -> None:
    """However many there may be, a new one finds a column for what it counts."""
    (bound,) = [
        rule.le for rule in GatewaySettings.model_fields["workers"].metadata if isinstance(rule, Le)
    ]
    assert isinstance(bound, int)
    columns = {start().column for _ in range(2 * bound)}
    assert len(columns) == 2 * bound


def test_there_is_a_row_for_everybody(start: Start) -> None:
    """The file grows; workers that mapped it before find the new rows, and rows they have go on."""
    first, second = start(), start()
    oldest = first.row("key_0")
    names = [f"key_{number}" for number in range(600)]
    for name in names:
        first.row(name)[SPENT] = hash(name)
    assert all(second.row(name)[SPENT] == hash(name) for name in reversed(names))
    assert second.row("another")[SPENT] == 0
    oldest.cells[SPENT] += 1
    assert second.row("key_0").cells[SPENT] == hash("key_0") + 1


def test_who_comes_forgets_all_who_were_killed(start: Start) -> None:
    """Not only the last one of its own column: what they had running is nobody's share of anything."""
    first, second, third = start(), start(), start()
    for table in (first, second, third):
        table.row("replica").begin()
        table.row("replica").reserve(5)
    second.close()
    third.close()
    row = first.row("replica")
    assert (row.num_running, row.num_reserved) == (3, 15)
    assert start().column == 1
    assert (row.num_running, row.num_reserved) == (1, 5)
