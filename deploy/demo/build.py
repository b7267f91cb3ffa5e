"""Rebuild the embedded base and the demo adapter: `python -m deploy.demo.build`.

Other options make another base of the same kind, for instance
`python -m deploy.demo.build --seed 8 --hidden-size 192 --size 0.5 --out /tmp/second`.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers.utils import logging as transformers_logging

from deploy.demo.adapt import AdapterSpec, build_adapter
from deploy.demo.card import write_adapter_card, write_base_card
from deploy.demo.pretrain import BaseSpec, build_base
from deploy.demo.training import Follow, Watch

HERE = Path(__file__).parent
Report = TypeVar("Report")


def main(argv: list[str] | None = None) -> int:
    """Build what was asked for, show progress on stderr and the measured numbers on stdout."""
    args = _parse(argv)
    transformers_logging.disable_progress_bar()
    with _progress() as progress:
        measured = build(args, lambda stage: _watch(progress, stage))
    sys.stdout.write(_render(measured, as_json=args.json) + "\n")
    return 0


def build(args: argparse.Namespace, follow: Follow) -> dict[str, Any]:
    """Base, then adapter, each with its card and checksums; returns what was measured."""
    measured: dict[str, Any] = {}
    base, adapter = args.out / "base", args.out / "adapter"
    if args.only != "adapter":
        spec = _base_spec(args)
        report, seconds = _timed(lambda: build_base(spec, base, follow))
        write_base_card(base, spec, report, seconds)
        measured["base"] = asdict(report) | {"seconds": round(seconds)}
    if args.only != "base":
        adapter_spec = AdapterSpec()
        learnt, seconds = _timed(lambda: build_adapter(adapter_spec, base, adapter, follow))
        write_adapter_card(adapter, adapter_spec, learnt, seconds)
        measured["adapter"] = asdict(learnt) | {"seconds": round(seconds)}
    return measured


def _parse(argv: list[str] | None) -> argparse.Namespace:
    defaults = BaseSpec()
    parser = argparse.ArgumentParser(prog="python -m deploy.demo.build", description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE, help="gets base/ and adapter/")
    parser.add_argument("--only", choices=("base", "adapter"), help="leave the other as it is")
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--hidden-size", type=int, default=defaults.hidden_size, help="64 times n")
    parser.add_argument("--num-layers", type=int, default=defaults.num_layers)
    parser.add_argument("--vocab-size", type=int, default=defaults.vocab_size)
    parser.add_argument("--size", type=float, default=1.0, help="how many texts; 0.5: half of them")
    parser.add_argument("--epochs", type=int, default=defaults.epochs)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args(argv)


def _base_spec(args: argparse.Namespace) -> BaseSpec:
    return BaseSpec(
        seed=args.seed,
        hidden_size=args.hidden_size,
        num_layers=args.num_layers,
        vocab_size=args.vocab_size,
        epochs=args.epochs,
    ).scaled(args.size)


def _timed(work: Callable[[], Report]) -> tuple[Report, float]:
    started = time.monotonic()
    return work(), time.monotonic() - started


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("loss {task.fields[loss]:.3f}"),
        console=Console(stderr=True),
    )


def _watch(progress: Progress, stage: str) -> Watch:
    task = progress.add_task(stage, total=None, loss=float("nan"))

    def show(done: int, total: int, loss: float) -> None:
        progress.update(task, completed=done, total=total, loss=loss)
        # In a log there is no live bar: say it ten times a stage.
        if not progress.console.is_terminal and done % max(1, total // 10) == 0:
            progress.console.print(f"{stage}: {done} of {total}, loss {loss:.3f}")

    return show


def _render(measured: dict[str, Any], *, as_json: bool) -> str:
    if as_json:
        return msgspec.json.encode(measured).decode()
    return "\n".join(
        f"{part}.{name}: {value}"
        for part, values in measured.items()
        for name, value in values.items()
    )


if __name__ == "__main__":
    sys.exit(main())
