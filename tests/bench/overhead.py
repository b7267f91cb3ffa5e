"""What a gateway costs: `python -m tests.bench.overhead --peers FOLDER`.

Strop with authentication, policy, limits, journal and metrics on, in one worker, beside nginx,
vllm-router, Portkey and LiteLLM, all in front of an nginx that answers at once. What they do is
measured in turns, again and again, so that what the machine does besides falls on all alike:

1. requests/s and latency without pause, by wrk, on 1 and on 32 connections;
2. the same with longer bodies;
3. latency at a constant rate, from the time at which each request was due.

Strop's journal is read into the database afterwards and its rows are counted (`rows.py`); where they
do not fit what clients saw, this ends with 1.

Needs nginx and wrk (apt-get install nginx wrk); peers that are not there are left out.
`--as-is FILE` also has a program with the options of `peers.py run` measure Strop its own way; those
rows are counted, too.
"""

import argparse
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.command.progress import live_line
from tests.bench.as_is import run_as_is
from tests.bench.openloop import CONNECTIONS, at_rate
from tests.bench.peers import PEERS, Target, chat, missing, running_peers
from tests.bench.report import added, finish, load_now, make_parser, medians, table
from tests.bench.rows import Tally, count_rows, describe_rows
from tests.bench.stand import standing
from tests.bench.wrk import instant_upstream, press
from tests.scale import Scale

Figures = dict[str, dict[str, float]]
Tell = Callable[[str], None]

ONE, MANY = 1, 32
KILOBYTES = (4, 40, 400)
_OPEN_LOOP = ("p50_ms", "p99_ms", "added_p50_ms", "added_p99_ms", "late_p99_ms")


def main() -> int:
    """Measure, print."""
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each stretch of load")
    parser.add_argument("--rate", type=float, default=1000, help="requests/s of the constant rate")
    parser.add_argument("--as-is", type=Path, help="a peers.py, run as it is")
    options = parser.parse_args()
    for line in missing(tuple(PEERS), options.peers):
        sys.stderr.write(f"{line}\n")
    with live_line() as tell:
        figures = measure(options, tell)
        if options.as_is:
            tell(f"{options.as_is.name} as it is")
            figures["as_is"] = run_as_is(options)
            figures["is_ok"] = figures["is_ok"] and figures["as_is"]["is_ok"]
    keep(figures, Scale(is_full=options.write))
    return finish("overhead", figures, describe(figures), options)


def measure(options: argparse.Namespace, tell: Tell) -> dict[str, Any]:
    """Return all figures."""
    load, tally = load_now(), Tally()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="strop-bench-")))
        tell("Starting the upstream, Strop and its peers")
        direct = stack.enter_context(instant_upstream(folder))
        stand = stack.enter_context(standing(direct.url))
        with ExitStack() as gateways:
            ours = gateways.enter_context(stand.gateway())
            running = running_peers(tuple(PEERS), options.peers, folder, direct.url)
            targets = [direct, ours, *gateways.enter_context(running)]
            rounds = Rounds(options, targets, folder, tally, tell)
            rounds.warm()
            figures: dict[str, Any] = {
                "load_before": load,
                "plain": {str(number): rounds.closed(number) for number in (ONE, MANY)},
                "bodies": {str(size): rounds.with_body(size) for size in KILOBYTES},
                "open_loop": rounds.at_constant_rate(),
            }
        tell("Reading the journal into the database")
        counted = count_rows(stand, tally)
    many = figures["plain"][str(MANY)]
    ours = many["strop"]["per_second"]
    return {
        **figures,
        "times": {
            name: None if {name, "strop"} & rounds.failed else times(ours, many.get(name))
            for name in PEERS
        },
        "failed": sorted(rounds.failed),
        **counted,
    }


@dataclass
class Rounds:
    """Measures every target in turn, again and again."""

    options: argparse.Namespace
    targets: list[Target]
    folder: Path
    tally: Tally
    tell: Tell
    failed: set[str] = field(default_factory=set)
    """Who gave an answer that was none; its figures mean nothing."""

    def warm(self) -> None:
        """Have each target do what it does the first time only."""
        self._in_turns("warming", 1, self.targets, lambda target: self._press(target, MANY, 0, 2))

    def closed(
        self, connections: int, kilobytes: int = 0, num_rounds: int | None = None
    ) -> Figures:
        """Load without pause; return each target's medians."""
        what = f"{connections} connections, {kilobytes or 0.2} kB"
        return self._in_turns(
            what,
            num_rounds or self.options.rounds,
            self.targets,
            lambda target: self._press(target, connections, kilobytes, self.options.seconds),
        )

    def with_body(self, kilobytes: int) -> dict[str, Figures]:
        """Load without pause with long bodies, on few and many connections."""
        return {str(number): self.closed(number, kilobytes, 2) for number in (ONE, MANY)}

    def at_constant_rate(self) -> Figures:
        """Load at a constant rate, of those that can take it; return what they add to going direct."""
        able = [target for target in self.targets if self._can_take(target)]
        found = self._in_turns(
            f"{self.options.rate:g} requests/s", self.options.rounds, able, self._at_rate
        )
        direct = {name: found["direct"][name] for name in ("p50_ms", "p99_ms")}
        return {name: figures | added(figures, direct) for name, figures in found.items()}

    def _in_turns(
        self,
        what: str,
        num_rounds: int,
        targets: list[Target],
        once: Callable[[Target], dict[str, float]],
    ) -> Figures:
        found: dict[str, list[dict[str, float]]] = defaultdict(list)
        for number in range(num_rounds):
            for target in targets:
                self.tell(f"{what}: round {number + 1} of {num_rounds}, {target.name}")
                found[target.name].append(once(target))
        return {name: medians(figures) for name, figures in found.items()}

    def _press(
        self, target: Target, connections: int, kilobytes: int, seconds: int
    ) -> dict[str, float]:
        body = chat(target.model, kilobytes * 1000)
        load = press(target, body, connections, seconds, self.folder)
        self._count(target, load.num_answered, load.num_failed, connections)
        return load.figures

    def _can_take(self, target: Target) -> bool:
        """Whether it answers half as many more; what just can would only show its queue."""
        if target.name == "strop":
            return True
        figures = self._press(target, MANY, 0, 1)
        return figures["per_second"] > 1.5 * self.options.rate

    def _at_rate(self, target: Target) -> dict[str, float]:
        found = at_rate(target, chat(target.model), self.options.rate, self.options.seconds)
        self._count(target, found.pop("num_answered"), found.pop("num_failed"), CONNECTIONS)
        return found

    def _count(
        self, target: Target, num_answered: float, num_failed: float, connections: int
    ) -> None:
        if target.name == "strop":
            self.tally.add(num_answered, num_failed, connections)
        if num_failed:
            self.failed.add(target.name)


def keep(figures: dict[str, Any], scale: Scale) -> None:
    """Keep what README tells."""
    one, many = figures["plain"][str(ONE)], figures["plain"][str(MANY)]
    scale.record(
        "overhead",
        per_second=round(many["strop"]["per_second"]),
        connections=MANY,
        times_litellm=figures["times"]["litellm"],
        times_portkey=figures["times"]["portkey"],
        times_router=figures["times"]["vllm-router"],
        p50_ms=one["strop"]["p50_ms"],
        added_p99_ms=figures["open_loop"]["strop"]["added_p99_ms"],
        us_per_kb=us_per_kb(figures, "strop"),
    )


def times(per_second: float, other: dict[str, float] | None) -> float | None:
    """Return how many times as much it is; None: there is no other, or it answered nothing."""
    if other is None or not other["per_second"]:
        return None
    return round(per_second / other["per_second"], 2)


def us_per_kb(figures: dict[str, Any], name: str) -> float:
    """Return what a kilobyte more of the longest body takes on one connection, microseconds."""
    longest = str(KILOBYTES[-1])
    long = figures["bodies"][longest][str(ONE)][name]["p50_ms"]
    short = figures["plain"][str(ONE)][name]["p50_ms"]
    return round((long - short) * 1000 / KILOBYTES[-1], 2)


def describe(figures: dict[str, Any]) -> str:
    """Return all of it as tables."""
    parts = [describe_closed("0.2 kB", figures["plain"])]
    parts += [describe_closed(f"{size} kB", found) for size, found in figures["bodies"].items()]
    parts.append(
        table(
            ["constant rate", "p50 ms", "p99 ms", "added p50", "added p99", "late p99"],
            [
                [name, *(found[figure] for figure in _OPEN_LOOP)]
                for name, found in figures["open_loop"].items()
            ],
        )
    )
    parts.append(
        f"A kB of body takes {us_per_kb(figures, 'strop')} us through Strop, "
        f"{us_per_kb(figures, 'direct')} to the upstream alone."
    )
    parts.append(describe_rows(figures))
    if figures["failed"]:
        parts.append(f"FAILED, so their figures mean nothing: {', '.join(figures['failed'])}")
    if "as_is" in figures:
        parts.append("\n".join([*figures["as_is"]["table"], "", describe_rows(figures["as_is"])]))
    return "\n\n".join(parts)


def describe_closed(what: str, found: dict[str, Figures]) -> str:
    """Return a line per target: what it does on 1 and on 32 connections."""
    one, many = found[str(ONE)], found[str(MANY)]
    rows = [
        [
            name,
            *(one[name][figure] for figure in ("per_second", "p50_ms", "p99_ms")),
            *(many[name][figure] for figure in ("per_second", "p50_ms", "p99_ms")),
            times(one["strop"]["per_second"], one[name]),
            times(many["strop"]["per_second"], many[name]),
        ]
        for name in one
    ]
    head = [what, "c=1 /s", "p50 ms", "p99 ms", "c=32 /s", "p50 ms", "p99 ms"]
    return table([*head, "strop/it c=1", "c=32"], rows)


if __name__ == "__main__":
    raise SystemExit(main())
