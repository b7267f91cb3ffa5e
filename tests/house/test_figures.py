"""README's table of figures: every row is measured by some test, with the numbers it shows."""

import ast
from pathlib import Path
from string import Formatter

import pytest

from tests.bench.figures import DEMO, FIGURES, README, ROWS, insert, marks, render, render_demo

TESTS = Path(__file__).parents[1]


def recorded() -> dict[str, set[str]]:
    """Return name -> figures of every `scale.record(name, figure=...)` in the tests."""
    calls = [
        node
        for path in TESTS.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "scale.record"
    ]
    return {
        ast.literal_eval(call.args[0]): {str(keyword.arg) for keyword in call.keywords}
        for call in calls
    }


def shown(row: tuple[str, str]) -> set[str]:
    """Return the figures that a row's texts name."""
    return {name for text in row for _, name, _, _ in Formatter().parse(text) if name}


def test_every_row_is_measured() -> None:
    """A row that no test records would never be filled; a record without a row never seen."""
    measured = recorded()
    assert measured.pop(DEMO) == {"table", "num_answers", "num_failures", "num_steps", "minutes"}
    assert measured == {name: shown(row) for name, row in ROWS.items()}


def test_the_table_is_put_between_its_marks() -> None:
    """What stands around it stays, and putting it there again changes nothing."""
    figures = dict.fromkeys(shown(ROWS["rollback"]), 8)
    table = render({"rollback": {"measured": "today", "machine": "here", **figures}})
    begin, end = marks(FIGURES)
    readme = insert(README.read_text(), FIGURES, table)
    assert f"{begin}{table}{end}" in readme
    assert "8 s, the command's own start included | today | here |" in table
    assert insert(readme, FIGURES, table) == readme


@pytest.mark.parametrize(("added", "told"), [(1.25, "1.25 ms"), (-3.027, "none measurable")])
def test_nothing_adds_less_than_nothing(added: float, told: str) -> None:
    """A difference of two medians below zero is said to be too small to be measured."""
    figures = dict.fromkeys(shown(ROWS["streaming"]), 8) | {"added_gap_p99_ms": added}
    table = render({"streaming": {"measured": "today", "machine": "here", **figures}})
    assert f"8 ms added before the first token (p50), {told} between two (p99);" in table


def test_the_demo_has_a_table_of_its_own() -> None:
    """A row per phase; what a phase has no figure for stays empty."""
    row = {"phase": "v1", "held_out_score": 0.972, "right_share": None, "down_share": 0.1}
    told = {"num_answers": 1234, "num_failures": 0, "num_steps": 480, "minutes": 17}
    table = render_demo(
        {"table": [{**row, "num_ratings": 9}], "machine": "here", "measured": "today", **told}
    )
    assert "| v1 | 97% |  | 10% of 9 |" in table
    assert "1,234 requests, 0 not answered; 480 training steps; 17 minutes; today, here." in table
    assert table in insert(README.read_text(), DEMO, table)
