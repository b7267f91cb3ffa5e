"""README's tables, made from `tests/bench/results/*.json`: `python -m tests.bench.figures`."""

import json
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parent.parent.parent / "README.md"
BEGIN, END = "<!-- figures: made by `make prove`, do not edit -->\n", "<!-- /figures -->"

ROWS = {
    "swaps": (
        "Adapters swapped under {clients} clients that stream without pause",
        "{swaps} swaps, {requests} requests: {failed} failed, "
        "{answered_by_another_version} answered by another version than the header says",
    ),
    "rollback": (
        "`strop rollback` while {clients} clients stream",
        "{seconds} s, the command's own start included",
    ),
    "engine_killed": (
        "Engine killed (SIGKILL) under load",
        "answers again after {seconds_until_answers} s; meanwhile {refused_503} x 503 with "
        "Retry-After, {broken_in_flight} broken in flight, "
        "{answered_by_another_version} answered by another version",
    ),
    "gateway_killed": (
        "Gateway killed (SIGKILL) amid {requests} requests",
        "{begun} begun, {recorded_once} recorded exactly once, {interrupted} of them marked "
        "interrupted",
    ),
    "journal_killed": (
        "Journal writer killed (SIGKILL) {kills} times",
        "{acknowledged} records acknowledged, {lost} lost, {duplicated} twice",
    ),
    "demo_base": (
        "The embedded base and its first adapter, {queues} queues, {items} requests never seen",
        "exact match: base {base_percent} %, adapter {adapter_percent} %",
    ),
    "second_task": (
        "Another task (JSON tickets) as files, on another base ({millions} M), by the commands",
        "gate on {items} items: base {base_score} %, candidate {candidate_score} % of the fields; "
        "through the gateway exactly right: base {base_percent} %, adapter {adapter_percent} %; "
        "training {ratio} times a bare PEFT loop",
    ),
}


def render(results: dict[str, dict[str, Any]]) -> str:
    """Return the table of what was measured, in the order of ROWS."""
    lines = ["| what | measured | when | machine |", "|---|---|---|---|"]
    for name, (what, figure) in ROWS.items():
        if name in results:
            found = results[name]
            lines.append(
                f"| {what.format(**found)} | {figure.format(**found)} "
                f"| {found['measured']} | {found['machine']} |"
            )
    return "\n".join(lines) + "\n"


def load_results() -> dict[str, dict[str, Any]]:
    """Read every result file; its name is its key."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}


def insert(readme: str, table: str) -> str:
    """Return README's text with the table between its two marks."""
    before, rest = readme.split(BEGIN, 1)
    _, after = rest.split(END, 1)
    return f"{before}{BEGIN}{table}{END}{after}"


def main() -> int:
    """Write the table into README."""
    README.write_text(insert(README.read_text(), render(load_results())))
    sys.stdout.write(f"{README.name}: figures renewed\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
