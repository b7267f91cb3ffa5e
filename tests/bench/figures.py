"""README's tables, made from `tests/bench/results/*.json`: `python -m tests.bench.figures`."""

import json
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parent.parent.parent / "README.md"
FIGURES, DEMO = "figures", "demo"
"""README's places for tables: each between two comments."""

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
    "killed_anywhere": (
        "kill -9 at {points} named points of a request's way and of ingest, {kills} times in all",
        "{acknowledged} answers and ratings acknowledged, {lost} lost, {duplicated} twice",
    ),
    "cancelled": (
        "Clients that leave, at random moments, {cancellations} times",
        "{aborted} recorded as aborted; sockets, tasks, upstream calls and places left: {left}; "
        "{fresh} fresh requests at once: all answered",
    ),
    "client_gone": (
        "Clients that hang up, {clients} times, {at_once} at once, streamed or not",
        "the engine's calls closed after {worst_ms} ms at worst",
    ),
    "key_revoked": (
        "A key revoked {revocations} times while {workers} workers answer it",
        "its last answer, from any of them, {worst_ms} ms later at worst",
    ),
    "database_stopped": (
        "PostgreSQL frozen for {seconds} s, then stopped for {seconds} s, under load",
        "{acknowledged} answers and ratings acknowledged, {lost} lost, {refused} refused; "
        "`/health/live` in {slowest_live_ms} ms at worst",
    ),
    "disk_full": (
        "The journal full under load, again and again, {disks} ways",
        "{acknowledged} answers and ratings acknowledged, {lost} lost; {refused} refused, "
        "all with 503 and Retry-After",
    ),
    "overhead": (
        "Requests/s through one gateway worker, keys, limits, journal and metrics on, {connections} "
        "connections, beside others in the same run",
        "{per_second}: {times_litellm} times LiteLLM, {times_portkey} times Portkey, {times_router} "
        "times vllm-router; on 1 connection {p50_ms} ms (p50); at 1,000 requests/s {added_p99_ms} "
        "added (p99); {us_per_kb} us a kB of body",
    ),
    "streaming": (
        "{streams} streams of 50 tokens/s",
        "{cpu_us} us CPU a chunk (vllm-router {cpu_us_router}, LiteLLM {cpu_us_litellm}); "
        "{added_first_p50_ms} added before the first token (p50), {added_gap_p99_ms} between two "
        "(p99); {idle} silent streams take {idle_mb} MB",
    ),
    "ingest": (
        "Ingest while {requests_per_second} requests/s are served",
        "{records_per_second} journal records/s; requests' p99 {p99_ms} ms",
    ),
    "rows_killed": (
        "Gateway killed (SIGKILL) {kills} times under {clients} clients that call without pause",
        "{answered} answers seen, {lost} lost",
    ),
    "demo_base": (
        "The embedded base and its first adapter, {queues} queues, {items} requests never seen",
        "exact match: base {base_percent} %, adapter {adapter_percent} %",
    ),
    "shuffled": (
        "A candidate trained on shuffled labels, held against the champion on {items} items",
        "rejected with {candidate_score} % against {champion_score} %: {reason}",
    ),
    "second_task": (
        "Another task (JSON tickets) as files, on another base ({millions} M), by the commands",
        "tickets exactly right: at the gate, of {items}, base {base_score} %, candidate "
        "{candidate_score} %; through the gateway base {base_percent} %, adapter {adapter_percent} %; "
        "a training step takes {ratio} times a bare PEFT loop's",
    ),
}


def render(results: dict[str, dict[str, Any]]) -> str:
    """Return the table of what was measured, in the order of ROWS."""
    lines = ["| what | measured | when | machine |", "|---|---|---|---|"]
    for name, (what, figure) in ROWS.items():
        if name in results:
            found = {figure: _told(figure, value) for figure, value in results[name].items()}
            lines.append(
                f"| {what.format(**found)} | {figure.format(**found)} "
                f"| {found['measured']} | {found['machine']} |"
            )
    return "\n".join(lines) + "\n"


def render_demo(told: dict[str, Any]) -> str:
    """Return the demo's table, a row per phase of its story, and under it where it was told."""
    lines = [
        "| | held-out requests answered right | users' requests answered right | thumbs-down |",
        "|---|---|---|---|",
        *(
            f"| {row['phase']} | {_percent(row['held_out_score'])} | {_percent(row['right_share'])} "
            f"| {_percent(row['down_share'])} of {row['num_ratings']} |"
            for row in told["table"]
        ),
        "",
        f"*{told['num_answers']:,} requests, {told['num_failures']} not answered; "
        f"{told['num_steps']} training steps; {told['minutes']} minutes; {told['measured']}, {told['machine']}.*",
    ]
    return "\n".join(lines) + "\n"


def load_results() -> dict[str, dict[str, Any]]:
    """Read every result file; its name is its key."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}


def insert(readme: str, place: str, table: str) -> str:
    """Return README's text with the table in its place."""
    begin, end = marks(place)
    before, rest = readme.split(begin, 1)
    _, after = rest.split(end, 1)
    return f"{before}{begin}{table}{end}{after}"


def marks(place: str) -> tuple[str, str]:
    """Return the comments around a place."""
    return f"<!-- {place}: made by `make prove`, do not edit -->\n", f"<!-- /{place} -->"


def main() -> int:
    """Write the tables into README."""
    results = load_results()
    readme = insert(README.read_text(), FIGURES, render(results))
    if DEMO in results:
        readme = insert(readme, DEMO, render_demo(results[DEMO]))
    README.write_text(readme)
    sys.stdout.write(f"{README.name}: figures renewed\n")
    return 0


def _told(figure: str, value: Any) -> Any:
    """Return a figure as README has it.

    What something adds, in ms, is the difference of two medians that vary: below nothing, it says only
    that there is too little to be measured.
    """
    if not figure.startswith("added_") or value is None:
        return value
    return f"{value} ms" if value >= 0 else "none measurable"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


if __name__ == "__main__":
    raise SystemExit(main())
