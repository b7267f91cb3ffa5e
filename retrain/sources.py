"""Which rows may train: pure rules over what was gathered, each dropped row counted by reason."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from retrain.examples import Example
from retrain.overlap import OverlapIndex
from serving.store.learning import Source

NUM_NEWEST_REVIEWS = 20
MIN_REJECTIONS = 5
# Not one half: of a label that a weak model overuses, most answers are wrong, and yet its rows
# are right. One that means nothing any more is hardly ever right.
REJECTED_SHARE = 0.9
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
    """What a reviewer found of an output: a model's answer, or the correction he gave himself."""

    output: str
    is_right: bool
    at: datetime


@dataclass(frozen=True, slots=True)
class Selection:
    """The rows that train, and how many were dropped for which reason."""

    kept: list[Gathered]
    dropped: Counter[str] = field(default_factory=Counter)


def select_rows(
    gathered: Sequence[Gathered],
    judgements: Sequence[Judgement],
    evaluation: Sequence[Sequence[Example]],
) -> Selection:
    """Drop what newer reviews contradict, what repeats, and what an evaluation set holds."""
    selection = Selection(list(gathered))
    reviews = _by_output(judgements)
    _drop(selection, "contradicted", lambda row: _is_contradicted(row, reviews))
    selection.kept.sort(key=lambda row: (_RANK[row.source], -row.at.timestamp()))
    _drop(selection, "duplicate", _Repeated())
    index = OverlapIndex(evaluation)
    _drop(selection, "overlap", lambda row: index.holds(row.example))
    return selection


class _Repeated:
    """Whether a row's question was seen before: rows come best source first, newest first."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def __call__(self, row: Gathered) -> bool:
        question = row.example.question_hash
        if question in self._seen:
            return True
        self._seen.add(question)
        return False


def _by_output(judgements: Sequence[Judgement]) -> dict[str, list[Judgement]]:
    """Return the newest reviews of each output. Older ones would outvote a change for long."""
    found: dict[str, list[Judgement]] = {}
    for judgement in sorted(judgements, key=lambda judgement: judgement.at):
        found.setdefault(judgement.output.strip(), []).append(judgement)
    return {output: reviews[-NUM_NEWEST_REVIEWS:] for output, reviews in found.items()}


def _is_contradicted(row: Gathered, reviews: Mapping[str, Sequence[Judgement]]) -> bool:
    """Whether reviews that are newer than the row mostly reject its output: 9 in 10, at least 5."""
    of_output = reviews.get(row.example.answer_text.strip(), ())
    newer = [review for review in of_output if review.at > row.at]
    num_rejected = sum(not review.is_right for review in newer)
    return num_rejected >= MIN_REJECTIONS and num_rejected >= REJECTED_SHARE * len(newer)


def _drop(selection: Selection, reason: str, is_dropped: Callable[[Gathered], bool]) -> None:
    kept = [row for row in selection.kept if not is_dropped(row)]
    selection.dropped[reason] += len(selection.kept) - len(kept)
    selection.kept[:] = kept
