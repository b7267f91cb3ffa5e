"""What the benchmark commands share: their options, percentiles, and what becomes of the figures."""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.limits import unmet
from tests.scale import machine, write_result

PEERS = Path.home() / ".cache" / "strop-peers"


def make_parser(about: str | None) -> argparse.ArgumentParser:
    """Return a parser of the options that every command has."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--peers", type=Path, default=PEERS, help="folder of the gateways to compare with"
    )
    parser.add_argument("--json", action="store_true", help="one object on stdout")
    parser.add_argument(
        "--write", action="store_true", help="keep the figures, README's among them"
    )
    parser.add_argument(
        "--check", action="store_true", help="end with 1 if a figure misses its limit; say which"
    )
    return parser


def finish(name: str, figures: Mapping[str, Any], text: str, options: argparse.Namespace) -> int:
    """Print the figures, for people or as JSON; keep them and hold them against limits if asked to.

    Args:
        name: the benchmark's.
        figures: all of them, `load_before` and `is_ok` among them: whether the rows are right.
        text: what people read, but for the load.
        options: of `make_parser`.

    Returns:
        The process's exit status.
    """
    if options.write:
        write_result(f"{name}_all", figures)
    text = f"{text}\n\nLoad before: {figures['load_before']}."
    told = json.dumps({"machine": machine(), **figures}) if options.json else text
    sys.stdout.write(f"{told}\n")
    missed = unmet(name, figures) if options.check else []
    for line in missed:
        sys.stderr.write(f"Not reached: {line}\n")
    return 0 if figures["is_ok"] and not missed else 1


def load_now() -> float:
    """Return how many processes ran or waited for a core of late: is the machine quiet?"""
    return round(os.getloadavg()[0], 1)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of all are at or below (nearest rank).

    Args:
        values: in any order, at least one.
        share: 0 to 1.
    """
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def spread_ms(seconds: Sequence[float]) -> dict[str, float]:
    """Return the median and the 99th percentile in milliseconds."""
    return {
        "p50_ms": round(percentile(seconds, 0.5) * 1000, 3),
        "p99_ms": round(percentile(seconds, 0.99) * 1000, 3),
    }


def medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return each figure's median over the rounds."""
    return {name: round(statistics.median(one[name] for one in rounds), 3) for name in rounds[0]}


def added(figures: Mapping[str, float], direct: Mapping[str, float]) -> dict[str, float]:
    """Return by how much figures are above those of going direct, under `added_...`."""
    return {f"added_{name}": round(figures[name] - value, 3) for name, value in direct.items()}


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return rows in columns: words to the left, numbers to the right."""
    cells = [[_cell(value) for value in row] for row in [head, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    )


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.2f}"
    return "-" if value is None else str(value)
