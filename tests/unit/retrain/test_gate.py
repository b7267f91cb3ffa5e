"""The gate: enough items, and better by the paired exact test."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.gate import ALPHA, decide
from retrain.statistics import bootstrap_interval, mcnemar_p


def outcomes(num_items: int, better: int, worse: int) -> tuple[list[float], list[float]]:
    """Return champion and candidate scores with that many discordant items."""
    same = num_items - better - worse
    return [0.0] * better + [1.0] * worse + [1.0] * same, [1.0] * better + [0.0] * worse + [
        1.0
    ] * same


def test_a_better_candidate_passes_with_its_numbers() -> None:
    """60 better and 20 worse of 500: passed, and every number is in the verdict."""
    verdict = decide(*outcomes(500, 60, 20))
    assert verdict.is_passed
    assert (verdict.num_items, verdict.num_better, verdict.num_worse) == (500, 60, 20)
    assert verdict.candidate_score - verdict.champion_score == pytest.approx(0.08)
    assert verdict.p == pytest.approx(4.3e-6, rel=0.1)


@pytest.mark.parametrize(
    ("num_items", "better", "worse"), [(500, 20, 60), (500, 30, 30), (499, 99, 0)]
)
def test_a_worse_an_equal_and_a_small_sample_are_rejected(
    num_items: int, better: int, worse: int
) -> None:
    """Not better, or fewer than 500 items: rejected, with the reason."""
    verdict = decide(*outcomes(num_items, better, worse))
    assert not verdict.is_passed
    assert verdict.reason


def test_no_difference_is_no_evidence() -> None:
    """Without a discordant item p is 1."""
    assert mcnemar_p(0, 0) == 1.0


def test_an_equal_candidate_rarely_passes() -> None:
    """At 15 % discordance and no true change, at most about 5 % pass (20,000 draws: 3.7 %)."""
    rng = np.random.default_rng(7)
    passed = 0
    for _ in range(400):
        discordant = rng.binomial(500, 0.15)
        better = int(rng.binomial(discordant, 0.5))
        passed += mcnemar_p(better, int(discordant) - better) <= ALPHA
    assert passed / 400 <= 0.065


@given(st.integers(0, 60), st.integers(0, 60))
def test_one_more_better_item_never_hurts(better: int, worse: int) -> None:
    """p falls as items turn from worse to better."""
    assert mcnemar_p(better + 1, worse) <= mcnemar_p(better, worse)
    assert 0 < mcnemar_p(better, worse) <= 1


def test_the_interval_covers_the_mean() -> None:
    """About 95 % of intervals hold the true share."""
    rng = np.random.default_rng(3)
    covered = 0
    for seed in range(60):
        low, high = bootstrap_interval(list(rng.binomial(1, 0.8, 300).astype(float)), seed=seed)
        covered += low <= 0.8 <= high
    assert covered >= 52
