"""How a command's answer looks: one JSON object, a table on a terminal, plain columns in a pipe."""

import json
import sys
from collections.abc import Callable, Sequence

import click

from gateway.command.options import Options
from gateway.operations.resources import Json

Row = Sequence[object]


def answer(options: Options, body: Json, show: Callable[[Json], None]) -> None:
    """Print `body` as JSON if that was asked for, else let `show` print it for people."""
    if options.is_json:
        click.echo(json.dumps(body, ensure_ascii=False))
    else:
        show(body)


def print_table(columns: Sequence[str], rows: Sequence[Row], *, empty: str) -> None:
    """Print rows under their columns; `empty` says what to do where there are none."""
    if not rows:
        click.echo(empty)
    elif sys.stdout.isatty():
        _print_rich(columns, rows)
    else:
        _print_plain([columns, *([_cell(value) for value in row] for row in rows)])


def print_facts(facts: Json) -> None:
    """Print `name  value` lines; a value of None is left out."""
    known = {name: _cell(value) for name, value in facts.items() if value is not None}
    width = max(map(len, known), default=0)
    for name, value in known.items():
        click.echo(f"{click.style(name.ljust(width), dim=True)}  {value}")


def short_time(moment: str | None) -> str | None:
    """Return an ISO moment as people read it: to the second, UTC as all of ours."""
    return moment and moment[:19].replace("T", " ")


def _print_rich(columns: Sequence[str], rows: Sequence[Row]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        # Text, not markup: a name may hold square brackets.
        table.add_row(*(Text(_cell(value)) for value in row))
    Console().print(table)


def _print_plain(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(padded).rstrip())


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
