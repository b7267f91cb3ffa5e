"""What the figures have to reach: `--check` of a benchmark holds its own against these limits."""

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

_HOLDS: Final[dict[str, Callable[[float, float], bool]]] = {
    "at least": operator.ge,
    "at most": operator.le,
    "under": operator.lt,
}


class Limit(NamedTuple):
    """One line of what has to be shown."""

    what: str
    path: tuple[str, ...]
    """Where the figure is among its benchmark's."""
    how: str
    bound: float
    unit: str = ""


def _of_streams(number: str) -> tuple[Limit, ...]:
    strop = ("streams", number, "strop")
    return (
        Limit(f"CPU a chunk, {number} streams", (*strop, "cpu_us"), "at most", 40, " us"),
        Limit(
            f"added before the first token (p50), {number} streams",
            (*strop, "added_first_p50_ms"),
            "under",
            1,
            " ms",
        ),
        Limit(
            f"added between two chunks (p99), {number} streams",
            (*strop, "added_gap_p99_ms"),
            "under",
            5,
            " ms",
        ),
    )


LIMITS: Final[dict[str, tuple[Limit, ...]]] = {
    "overhead": (
        Limit("requests/s beside LiteLLM", ("times", "litellm"), "at least", 100, " times"),
        Limit("requests/s beside Portkey", ("times", "portkey"), "at least", 8, " times"),
        Limit("requests/s beside vllm-router", ("times", "vllm-router"), "at least", 0.7, " times"),
        Limit("1 connection (p50)", ("plain", "1", "strop", "p50_ms"), "under", 0.45, " ms"),
        Limit(
            "added at a constant rate (p99)",
            ("open_loop", "strop", "added_p99_ms"),
            "under",
            3,
            " ms",
        ),
    ),
    "streaming": (
        *_of_streams("100"),
        *_of_streams("200"),
        Limit("memory of 500 silent streams", ("idle_mb", "strop"), "under", 100, " MB"),
    ),
    "ingest": (
        Limit("journal records/s", ("records_per_second",), "at least", 10_000),
        Limit("requests/s meanwhile", ("requests_per_second",), "at least", 490),
    ),
}


def unmet(name: str, figures: Mapping[str, Any]) -> list[str]:
    """Return a line for each limit that a benchmark's figures do not keep, or say nothing of."""
    found = [(limit, _at(figures, limit.path)) for limit in LIMITS.get(name, ())]
    return [
        f"{limit.what}: {_told(figure, limit)}, wanted {limit.how} {limit.bound:,g}{limit.unit}"
        for limit, figure in found
        if figure is None or not _HOLDS[limit.how](figure, limit.bound)
    ]


def _at(figures: Mapping[str, Any], path: tuple[str, ...]) -> float | None:
    at: Any = figures
    for name in path:
        at = at.get(name) if isinstance(at, Mapping) else None
    return None if at is None else float(at)


def _told(figure: float | None, limit: Limit) -> str:
    return "not measured" if figure is None else f"{figure:,g}{limit.unit}"
