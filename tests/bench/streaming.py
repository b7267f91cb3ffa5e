"""What a gateway costs a stream: `python -m tests.bench.streaming --peers FOLDER`.

Strop (tee, journal and metrics on), vllm-router and LiteLLM in turns in front of an upstream that
streams 50 tokens a second, with 100 and with 200 streams at once: first token and time between
tokens beside those of going direct, and the gateway's CPU per chunk. Then 500 streams that have
begun and are silent: the memory that they take.

Strop's journal is read into the database afterwards and its rows are counted (`rows.py`); where they
do not fit what clients saw, this ends with 1.

LiteLLM takes more CPU than there is for that many streams; its times are those of a gateway that
cannot keep up, its CPU per chunk is what each chunk cost it.
"""

import argparse
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from gateway.command.progress import live_line
from tests.bench.paced import paced_upstream
from tests.bench.peers import Target, missing, running_peers
from tests.bench.report import added, finish, load_now, make_parser, medians, table
from tests.bench.rows import Tally, count_rows, describe_rows
from tests.bench.stand import standing
from tests.bench.streams import measure_streams, memory_of_idle
from tests.scale import Scale

Figures = dict[str, dict[str, float]]

BESIDE = ("vllm-router", "litellm")
STREAMS = (100, 200)
IDLE = 500
TIMES = ("first_p50_ms", "first_p99_ms", "gap_p50_ms", "gap_p99_ms")


def main() -> int:
    """Measure, print."""
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=8, help="of each measurement")
    parser.add_argument("--rate", type=float, default=50, help="tokens a second of each stream")
    parser.add_argument("--tokens", type=int, default=200, help="of each stream")
    options = parser.parse_args()
    for line in missing(BESIDE, options.peers):
        sys.stderr.write(f"{line}\n")
    with live_line() as tell:
        figures = measure(options, tell)
    keep(figures, Scale(is_full=options.write))
    return finish("streaming", figures, describe(figures), options)


def measure(options: argparse.Namespace, tell: Callable[[str], None]) -> dict[str, Any]:
    """Return all figures."""
    load, tally = load_now(), Tally()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="strop-bench-")))
        tell("Starting the upstream, Strop and its peers")
        direct = stack.enter_context(paced_upstream(options.rate))
        stand = stack.enter_context(standing(direct.url))
        with ExitStack() as started:
            ours = started.enter_context(stand.gateway())
            running = running_peers(BESIDE, options.peers, folder, direct.url)
            gateways = [ours, *started.enter_context(running)]
            idle = {}
            for target in gateways:
                tell(f"{IDLE} silent streams: {target.name}")
                idle[target.name] = memory_of_idle(target, IDLE)
            targets = [direct, *gateways]
            streams = {
                str(number): in_turns(number, targets, options, tally, tell) for number in STREAMS
            }
        tell("Reading the journal into the database")
        counted = count_rows(stand, tally)
    return {"load_before": load, "streams": streams, "idle": IDLE, "idle_mb": idle, **counted}


def in_turns(
    num_streams: int,
    targets: list[Target],
    options: argparse.Namespace,
    tally: Tally,
    tell: Callable[[str], None],
) -> Figures:
    """Return each target's medians, and what it adds to going direct; count Strop's answers."""
    rounds: dict[str, list[dict[str, float]]] = defaultdict(list)
    for number in range(options.rounds):
        for target in targets:
            tell(f"{num_streams} streams: round {number + 1} of {options.rounds}, {target.name}")
            once = measure_streams(
                target, num_streams, options.tokens, options.rate, options.seconds
            )
            num_whole = once.pop("whole")
            if target.name == "strop":
                tally.add(num_whole, 0, num_streams)
            rounds[target.name].append(once)
    found = {name: medians(figures) for name, figures in rounds.items()}
    direct = {name: found["direct"][name] for name in TIMES}
    return {name: figures | added(figures, direct) for name, figures in found.items()}


def keep(figures: dict[str, Any], scale: Scale) -> None:
    """Keep what README tells: of the many streams."""
    many = figures["streams"][str(STREAMS[-1])]
    cpu_us = {name: many[name].get("cpu_us") if name in many else None for name in BESIDE}
    scale.record(
        "streaming",
        streams=STREAMS[-1],
        cpu_us=many["strop"]["cpu_us"],
        cpu_us_router=cpu_us["vllm-router"],
        cpu_us_litellm=cpu_us["litellm"],
        added_first_p50_ms=many["strop"]["added_first_p50_ms"],
        added_gap_p99_ms=many["strop"]["added_gap_p99_ms"],
        idle=IDLE,
        idle_mb=figures["idle_mb"]["strop"],
    )


def describe(figures: dict[str, Any]) -> str:
    """Return all of it as tables."""
    parts = [
        table(
            [
                *(f"{number} streams", "chunks", "first p50", "p99", "gap p50", "p99"),
                *("added first p50", "p99", "gap p50", "p99", "us CPU/chunk"),
            ],
            [
                [
                    *(name, found["chunks"], *(found[figure] for figure in TIMES)),
                    *(found[f"added_{figure}"] for figure in TIMES),
                    found.get("cpu_us"),
                ]
                for name, found in targets.items()
            ],
        )
        for number, targets in figures["streams"].items()
    ]
    idle = ", ".join(f"{name} {megabytes} MB" for name, megabytes in figures["idle_mb"].items())
    parts.append(f"{figures['idle']} silent streams take {idle} more (times in ms).")
    parts.append(describe_rows(figures))
    return "\n\n".join(parts)


if __name__ == "__main__":
    raise SystemExit(main())
