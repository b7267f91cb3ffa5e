"""README's table of figures: every row is measured by some test, with the numbers it shows."""

import ast
from pathlib import Path
from string import Formatter

from tests.bench.figures import BEGIN, END, README, ROWS, insert, render

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
    assert recorded() == {name: shown(row) for name, row in ROWS.items()}


def test_the_table_is_put_between_its_marks() -> None:
    """What stands around it stays, and putting it there again changes nothing."""
    figures = dict.fromkeys(shown(ROWS["rollback"]), 8)
    table = render({"rollback": {"measured": "today", "machine": "here", **figures}})
    readme = insert(README.read_text(), table)
    assert f"{BEGIN}{table}{END}" in readme
    assert "8 s, the command's own start included | today | here |" in table
    assert insert(readme, table) == readme
