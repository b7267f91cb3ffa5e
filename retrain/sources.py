"""Which rows may train: pure rules over what was gathered, each dropped row counted by reason."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from retrain.examples import Example
from retrain.overlap import OverlapIndex, normalise
from serving.store.learning import Source, Verdict

MIN_REVIEWS_OF_AN_OUTPUT = 5
# Corrected beats what it corrects; a person's own words beat a model's.
_RANK = {Source.CORRECTION: 0, Source.DEMONSTRATION: 1, Source.REVIEWED: 2, Source.IMPORT: 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """A row that might train, with where it comes from."""

    example: Example
    source: Source
    source_id: str
    at: datetime
    rater: str | None = None
    reviewer: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a reviewer found of one answer of a model."""

    output: str
    verdict: Verdict
    at: datetime


@dataclass(frozen=True, slots=True)
class Selection:
    """The rows that train, and how many were dropped for which reason."""

    kept: list[Gathered]
    dropped: Counter[str] = field(default_factory=Counter)


def select_rows(
    gathered: Sequence[Gathered], judgements: Sequence[Judgement], evaluation: Sequence[Example]
) -> Selection:
    """Drop what newer reviews contradict, what repeats, and what the evaluation holds."""
    selection = Selection(list(gathered))
    rejected = rejected_outputs(judgements)
    _drop(selection, "contradicted", lambda row: _is_contradicted(row, rejected))
    selection.kept.sort(key=lambda row: (_RANK[row.source], -row.at.timestamp()))
    _drop(selection, "duplicate", _Repeated())
    index = OverlapIndex(evaluation)
    _drop(selection, "overlap", lambda row: index.holds(row.example))
    return selection


def rejected_outputs(judgements: Sequence[Judgement]) -> dict[str, datetime]:
    """Return the outputs that reviews mostly reject, each with the time of the first rejection.

    An output counts once at least 5 reviews judged it from its first rejection on, and more than
    half of those found it wrong.
    """
    by_output: dict[str, list[Judgement]] = {}
    for judgement in sorted(judgements, key=lambda judgement: judgement.at):
        by_output.setdefault(judgement.output.strip(), []).append(judgement)
    found = {}
    for output, of_one in by_output.items():
        wrong = [one for one in of_one if one.verdict is Verdict.INCORRECT]
        if not wrong:
            continue
        since = [one for one in of_one if one.at >= wrong[0].at]
        if len(since) >= MIN_REVIEWS_OF_AN_OUTPUT and 2 * len(wrong) > len(since):
            found[output] = wrong[0].at
    return found


class _Repeated:
    """Whether a row's prompt was seen before: rows come best source first, newest first."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def __call__(self, row: Gathered) -> bool:
        prompt = normalise(row.example.prompt_text)
        if prompt in self._seen:
            return True
        self._seen.add(prompt)
        return False


def _is_contradicted(row: Gathered, rejected: dict[str, datetime]) -> bool:
    since = rejected.get(row.example.answer_text.strip())
    return since is not None and row.at < since and row.source is not Source.CORRECTION


def _drop(selection: Selection, reason: str, is_dropped: Callable[[Gathered], bool]) -> None:
    kept = [row for row in selection.kept if not is_dropped(row)]
    selection.dropped[reason] += len(selection.kept) - len(kept)
    selection.kept[:] = kept
