"""How much a test does: a few repetitions in `make test`, the full counts in `make prove`."""

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from hypothesis import HealthCheck, settings

RESULTS = Path(__file__).parent / "bench" / "results"
FEW, FULL = "few", "full"


@dataclass(frozen=True, slots=True)
class Scale:
    """Chooses counts, and keeps the figures of a full run for README's tables."""

    is_full: bool

    def count(self, few: int, full: int) -> int:
        """Return how often to do it."""
        return full if self.is_full else few

    def record(self, name: str, **figures: Any) -> None:
        """Write `tests/bench/results/<name>.json` if these are the full counts."""
        if self.is_full:
            write_result(name, figures)


def choose_examples(*, is_full: bool) -> None:
    """Have hypothesis try 50 examples per rule, the same every time, or the full 500, which search.

    Time is no fault: cores are shared.
    """
    for name, number in ((FEW, 50), (FULL, 500)):
        settings.register_profile(
            name,
            max_examples=number,
            derandomize=name == FEW,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        )
    settings.load_profile(FULL if is_full else FEW)


def examples(few: int, full: int) -> int:
    """Return how many examples a rule gets that takes longer than others."""
    return full if settings.get_current_profile_name() == FULL else few


def write_result(name: str, figures: Mapping[str, Any]) -> Path:
    """Write figures with the date and the machine they were measured on."""
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    result = {"measured": datetime.now(UTC).date().isoformat(), "machine": machine(), **figures}
    path.write_text(json.dumps(result, indent=2) + "\n")
    return path


def machine() -> str:
    """Describe this machine in a few words."""
    memory_gib = psutil.virtual_memory().total / 2**30
    return (
        f"{os.cpu_count()} cores {platform.machine()}, {memory_gib:.0f} GiB, "
        f"Python {platform.python_version()}, {platform.system()} {platform.release()}"
    )
