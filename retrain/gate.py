"""May this candidate take over? Pure: scores in, a verdict with every number out."""

from collections.abc import Sequence
from dataclasses import dataclass

from retrain.statistics import mcnemar_p, paired_bootstrap_p

MIN_ITEMS = 500
ALPHA = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the gate says, and on what numbers."""

    is_passed: bool
    reason: str
    num_items: int
    champion_score: float
    candidate_score: float
    num_better: int
    """Items on which the candidate scores higher."""
    num_worse: int
    p: float
    alpha: float = ALPHA


def judge(champion: Sequence[float], candidate: Sequence[float]) -> Verdict:
    """Compare two models on the same items, in the same order.

    Args:
        champion: the champion's score of each item, in [0, 1].
        candidate: the candidate's.

    Returns:
        Passed if there are at least 500 items and the candidate is better by the paired exact
        test at 5 % (McNemar; a paired bootstrap where scores are graded).
    """
    pairs = list(zip(champion, candidate, strict=True))
    num_better = sum(new > old for old, new in pairs)
    num_worse = sum(new < old for old, new in pairs)
    is_graded = any(score not in (0.0, 1.0) for pair in pairs for score in pair)
    if is_graded:
        p = paired_bootstrap_p([new - old for old, new in pairs])
    else:
        p = mcnemar_p(num_better, num_worse)
    is_enough = len(pairs) >= MIN_ITEMS
    return Verdict(
        is_passed=is_enough and p <= ALPHA,
        reason=_reason(len(pairs), num_better, num_worse, p),
        num_items=len(pairs),
        champion_score=_mean(champion),
        candidate_score=_mean(candidate),
        num_better=num_better,
        num_worse=num_worse,
        p=p,
    )


def _reason(num_items: int, num_better: int, num_worse: int, p: float) -> str:
    if num_items < MIN_ITEMS:
        return f"{num_items} evaluation items; a gate needs {MIN_ITEMS}."
    found = f"better on {num_better} items and worse on {num_worse} of {num_items}, p = {p:.2g}"
    if p <= ALPHA:
        return f"The candidate is better: {found}."
    return f"The candidate is not shown to be better: {found}, above {ALPHA}."


def _mean(scores: Sequence[float]) -> float:
    return sum(scores) / len(scores) if scores else 0.0
