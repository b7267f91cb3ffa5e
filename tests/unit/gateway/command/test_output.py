"""What commands print for people."""

import pytest

from gateway.command.options import Options
from gateway.command.output import answer, print_facts, print_table


def test_json_is_one_object_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """With --json nothing else is printed, and text stays readable."""
    answer(Options(is_json=True), {"name": "Zoë", "value": None}, print_facts)
    assert capsys.readouterr().out == '{"name": "Zoë", "value": null}\n'


def test_a_table_in_a_pipe_is_plain_columns(capsys: pytest.CaptureFixture[str]) -> None:
    """Columns line up, nothing is cut, and markup in a name is just text."""
    print_table(("NAME", "ON"), [("[red]a", True), ("long" * 30, None)], empty="")
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith("NAME ")
    assert second.split() == ["[red]a", "yes"]
    assert third.split() == ["long" * 30, "-"]


def test_an_empty_table_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing to show is no bare heading."""
    print_table(("NAME",), [], empty="Make one.")
    assert capsys.readouterr().out == "Make one.\n"
