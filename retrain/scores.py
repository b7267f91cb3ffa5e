"""How right an answer is, by the alias's task: pure, one item at a time, then summed up."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from retrain.statistics import bootstrap_interval
from serving.types import Task

_NOTHING = object()
"""What a text that is no JSON holds, and a field that is not there: `null` is something."""


@dataclass(frozen=True, slots=True)
class ItemScore:
    """One item: whether the answer is right decides, `parts` are reported beside it."""

    is_right: bool
    parts: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The scores of one model on one evaluation revision."""

    num_items: int
    score: float
    low: float
    high: float
    metrics: Mapping[str, float]
    """Metric -> value in [0, 1]; `score` is the share of right answers."""


def score_item(task: Task, expected: str, answer: str) -> ItemScore:
    """Score one answer: right is the same JSON value for `json` and `extract`, else the same text."""
    if task in (Task.JSON, Task.EXTRACT):
        return _score_json(expected, answer)
    return ItemScore(expected.strip() == answer.strip(), {})


def summarise(
    task: Task, expected: Sequence[str], answers: Sequence[str], items: Sequence[ItemScore]
) -> Summary:
    """Sum up one model's items, with a bootstrap interval of the share of right answers."""
    scores = [float(item.is_right) for item in items]
    low, high = bootstrap_interval(scores)
    return Summary(
        num_items=len(items),
        score=sum(scores) / len(scores),
        low=low,
        high=high,
        metrics=_metrics(task, expected, answers, items),
    )


def macro_f1(expected: Sequence[str], answers: Sequence[str]) -> float:
    """Return the unweighted mean of F1 over the labels that `expected` holds."""
    right = Counter(want for want, got in zip(expected, answers, strict=True) if want == got)
    wanted, given = Counter(expected), Counter(answers)
    return sum(2 * right[label] / (wanted[label] + given[label]) for label in wanted) / len(wanted)


def _metrics(
    task: Task, expected: Sequence[str], answers: Sequence[str], items: Sequence[ItemScore]
) -> dict[str, float]:
    if task in (Task.JSON, Task.EXTRACT):
        names = sorted({name for item in items for name in item.parts})
        return {name: _mean([i.parts[name] for i in items if name in i.parts]) for name in names}
    exact = _mean([item.is_right for item in items])
    if task is not Task.CLASSIFY:
        return {"exact_match": exact}
    stripped = [text.strip() for text in expected], [text.strip() for text in answers]
    return {"exact_match": exact, "macro_f1": macro_f1(*stripped)}


def _score_json(expected: str, answer: str) -> ItemScore:
    want, got = _parse(expected), _parse(answer)
    is_right = want == got and got is not _NOTHING
    parts = {"exact_match": float(is_right), "valid_json": float(got is not _NOTHING)}
    if not isinstance(want, dict):
        return ItemScore(is_right, parts)
    fields = got if isinstance(got, dict) else {}
    for name, value in want.items():
        parts[f"field.{name}"] = float(fields.get(name, _NOTHING) == value)
    return ItemScore(is_right, parts)


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _NOTHING


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
