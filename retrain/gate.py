"""May this candidate take over? Pure: scores in, a verdict with every number out."""

from collections.abc import Sequence
from dataclasses import dataclass

from retrain.split import MIN_TEST_ITEMS
from retrain.statistics import mcnemar_p

ALPHA = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """How many evaluation items are younger than the fall of quality, and how many have to be."""

    num_items: int
    num_needed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the gate says, and on what numbers."""

    is_passed: bool
    reason: str
    num_items: int
    num_fresh_items: int | None
    """Dated after the fall of quality; None where quality did not ask for the run."""
    champion_score: float
    candidate_score: float
    num_better: int
    """Items that the candidate alone has right."""
    num_worse: int
    p: float
    alpha: float = ALPHA


def decide(
    champion: Sequence[float], candidate: Sequence[float], freshness: Freshness | None = None
) -> Verdict:
    """Compare two models on the same items, in the same order.

    Args:
        champion: the champion's score of each item: 1 for right, 0 for wrong.
        candidate: the candidate's.
        freshness: of the items, for a run that quality asked for.

    Returns:
        Passed if there are at least 500 items, enough of them fresh, and the candidate is better
        by the paired exact test at 5 % (McNemar).
    """
    pairs = list(zip(champion, candidate, strict=True))
    num_better = sum(new > old for old, new in pairs)
    num_worse = sum(new < old for old, new in pairs)
    p = mcnemar_p(num_better, num_worse)
    lack = _lack(len(pairs), freshness)
    found = f"better on {num_better} items and worse on {num_worse} of {len(pairs)}, p = {p:.2g}"
    return Verdict(
        is_passed=not lack and p <= ALPHA,
        reason=f"{lack} The candidate is {found}." if lack else _compare(found, p),
        num_items=len(pairs),
        num_fresh_items=freshness.num_items if freshness else None,
        champion_score=_mean(champion),
        candidate_score=_mean(candidate),
        num_better=num_better,
        num_worse=num_worse,
        p=p,
    )


def _lack(num_items: int, freshness: Freshness | None) -> str:
    """Return what the items lack for a judgement; empty: nothing."""
    if num_items < MIN_TEST_ITEMS:
        return f"{num_items} evaluation items; a gate needs {MIN_TEST_ITEMS}."
    if freshness and freshness.num_items < freshness.num_needed:
        return (
            f"{freshness.num_items} evaluation items are dated after quality fell; "
            f"{freshness.num_needed} are needed."
        )
    return ""


def _compare(found: str, p: float) -> str:
    if p <= ALPHA:
        return f"The candidate is better: {found}."
    return f"The candidate is not shown to be better: {found}, above {ALPHA}."


def _mean(scores: Sequence[float]) -> float:
    return sum(scores) / len(scores) if scores else 0.0
