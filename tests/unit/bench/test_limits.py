"""What figures have to reach, and how a benchmark says that they do not."""

from typing import Any

import pytest

from tests.bench.figures import load_results
from tests.bench.limits import LIMITS, unmet
from tests.bench.report import finish, make_parser

GOOD: dict[str, dict[str, Any]] = {
    "overhead": {
        "times": {"litellm": 100, "portkey": 8, "vllm-router": 0.7},
        "plain": {"1": {"strop": {"p50_ms": 0.449}}},
        "open_loop": {"strop": {"added_p99_ms": 2.999}},
    },
    "streaming": {
        "streams": {
            number: {"strop": {"cpu_us": 40, "added_first_p50_ms": 0.9, "added_gap_p99_ms": -3}}
            for number in ("100", "200")
        },
        "idle_mb": {"strop": 99.9},
    },
    "ingest": {"records_per_second": 10_000, "requests_per_second": 490},
}


@pytest.mark.parametrize("name", LIMITS)
def test_figures_that_just_keep_to_their_limits_are_met(name: str) -> None:
    """And of those that were not measured, each is named."""
    assert unmet(name, GOOD[name]) == []
    assert all("not measured, wanted" in line for line in unmet(name, {}))
    assert len(unmet(name, {})) == len(LIMITS[name])


def test_a_figure_that_misses_its_limit_is_named_with_both() -> None:
    """`under` is not `at most`; a peer that was not there leaves its line open."""
    figures = GOOD["overhead"] | {
        "times": {"litellm": 99.99, "portkey": None, "vllm-router": 0.7},
        "plain": {"1": {"strop": {"p50_ms": 0.45}}},
    }
    assert unmet("overhead", figures) == [
        "requests/s beside LiteLLM: 99.99 times, wanted at least 100 times",
        "requests/s beside Portkey: not measured, wanted at least 8 times",
        "1 connection (p50): 0.45 ms, wanted under 0.45 ms",
    ]


@pytest.mark.parametrize("name", LIMITS)
def test_limits_are_on_figures_that_benchmarks_keep(name: str) -> None:
    """Those of the last full run are found where the limits look. A peer may have been away."""
    lines = unmet(name, load_results()[f"{name}_all"])
    assert not [line for line in lines if "not measured" in line and "beside" not in line]


def test_a_check_fails_a_benchmark_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    """Only if it is asked for."""
    figures = GOOD["ingest"] | {"load_before": 0.1, "is_ok": True, "records_per_second": 9_999.5}
    parser = make_parser("")
    assert finish("ingest", figures, "Slow.", parser.parse_args([])) == 0
    assert finish("ingest", figures, "Slow.", parser.parse_args(["--check"])) == 1
    assert capsys.readouterr().err == (
        "Not reached: journal records/s: 9,999.5, wanted at least 10,000\n"
    )
    assert finish("ingest", figures | GOOD["ingest"], "", parser.parse_args(["--check"])) == 0
