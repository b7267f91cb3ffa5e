"""What happened while the demo ran: answers, ratings and events, and the curves and table of them.

Pure: the time comes with every call, in seconds since the story began.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

SLOT_SECONDS = 5
NUM_SLOTS_SEEN = 4
"""A point of a curve looks back on this many slots."""
MIN_SEEN = 8
"""Answers (or ratings) without which a point says nothing."""


class Phase(StrEnum):
    """A release in one state of the world: a row of the table."""

    BASE = "base"
    V1_BEFORE = "v1 before the change"
    V1_AFTER = "v1 after the change"
    V2 = "v2"


@dataclass(slots=True)
class Tally:
    """Answers by whether they were right, ratings by thumb."""

    num_right: int = 0
    num_wrong: int = 0
    num_up: int = 0
    num_down: int = 0

    @property
    def right_share(self) -> float | None:
        """Right answers among answers; None while there are too few."""
        return _share(self.num_right, self.num_wrong)

    @property
    def down_share(self) -> float | None:
        """Thumbs-down among thumbs; None while there are too few."""
        return _share(self.num_down, self.num_up)

    @property
    def num_ratings(self) -> int:
        """Thumbs, up and down."""
        return self.num_up + self.num_down

    def add(self, other: "Tally") -> None:
        """Count what `other` has counted, too."""
        self.num_right += other.num_right
        self.num_wrong += other.num_wrong
        self.num_up += other.num_up
        self.num_down += other.num_down


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth a line; the turning points are marked in the curve too, by `mark`."""

    at: float
    text: str
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Point:
    """Where the curves stand at a moment, for the release that answered last."""

    at: float
    release: int
    right_share: float | None
    down_share: float | None


@dataclass(slots=True)
class Record:
    """All that was seen, in order. Releases are numbers: 1 is the base, 2 is v1, 3 is v2."""

    events: list[Event] = field(default_factory=list)
    phases: dict[Phase, Tally] = field(default_factory=dict)
    scores: dict[Phase, float] = field(default_factory=dict)
    """Exact match on the evaluation revision of the phase, as Strop's gate measured it."""
    failures: list[str] = field(default_factory=list)
    """Requests that were not answered, by what came instead."""
    num_contradicted: int = 0
    """Older rows that the last dataset left out, because newer reviews mostly reject their output."""
    num_steps: int = 0
    """Training steps of all runs."""
    is_changed: bool = False
    """Whether the company has changed its queues."""
    _slots: defaultdict[int, defaultdict[int, Tally]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(Tally))
    )

    def count_answer(self, at: float, release: int, is_right: bool) -> None:
        """Count an answer of `release`."""
        one = Tally(num_right=1) if is_right else Tally(num_wrong=1)
        self._count(at, release, one)

    def count_rating(self, at: float, release: int, is_up: bool) -> None:
        """Count a user's thumb on an answer of `release`."""
        self._count(at, release, Tally(num_up=1) if is_up else Tally(num_down=1))

    def note(self, at: float, text: str, mark: str = "") -> None:
        """Keep an event; `mark` is its short name in the curve."""
        self.events.append(Event(at, text, mark))

    def tally(self, phase: Phase) -> Tally:
        """Return what was counted in a phase; nothing where it has not come yet."""
        return self.phases.get(phase, Tally())

    def num_answers(self) -> int:
        """Return how many requests were answered."""
        return sum(tally.num_right + tally.num_wrong for tally in self.phases.values())

    def points(self) -> list[Point]:
        """Return the curves: a point per slot, over the trailing slots of its newest release."""
        return [self._point(slot) for slot in sorted(self._slots)]

    def _count(self, at: float, release: int, one: Tally) -> None:
        self._slots[int(at // SLOT_SECONDS)][release].add(one)
        self.phases.setdefault(phase_of(release, is_changed=self.is_changed), Tally()).add(one)

    def _point(self, slot: int) -> Point:
        release, seen = max(self._slots[slot]), Tally()
        for earlier in range(slot - NUM_SLOTS_SEEN + 1, slot + 1):
            if earlier in self._slots and release in self._slots[earlier]:
                seen.add(self._slots[earlier][release])
        at = float((slot + 1) * SLOT_SECONDS)
        return Point(at, release, seen.right_share, seen.down_share)


def phase_of(release: int, *, is_changed: bool) -> Phase:
    """Return the phase in which a release answers."""
    if release == 1:
        return Phase.BASE
    if release == 2:
        return Phase.V1_AFTER if is_changed else Phase.V1_BEFORE
    return Phase.V2


def table_rows(record: Record) -> list[dict[str, Any]]:
    """Return the summary, a row per phase: shares in [0, 1], None where nothing was measured."""
    return [
        {
            "phase": phase.value,
            "held_out_score": record.scores.get(phase),
            "right_share": record.tally(phase).right_share,
            "down_share": record.tally(phase).down_share,
            "num_answers": record.tally(phase).num_right + record.tally(phase).num_wrong,
            "num_ratings": record.tally(phase).num_ratings,
        }
        for phase in Phase
    ]


def to_json(record: Record) -> dict[str, Any]:
    """Return all of it as plain values."""
    return {
        "table": table_rows(record),
        "seconds": round(max((event.at for event in record.events), default=0.0)),
        "num_answers": record.num_answers(),
        "num_contradicted": record.num_contradicted,
        "num_steps": record.num_steps,
        "num_failures": len(record.failures),
        "events": [asdict(event) for event in record.events],
        "curve": [asdict(point) for point in record.points()],
    }


def clock(seconds: float) -> str:
    """Write seconds as m:ss."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def percent(share: float | None) -> str:
    """Write a share as a whole percentage; a dash where there is none."""
    return "-" if share is None else f"{share:.0%}"


def lines_of(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lay out cells in columns, the first to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
            ]
        )
        for row in rows
    ]


def _share(count: int, rest: int) -> float | None:
    return count / (count + rest) if count + rest >= MIN_SEEN else None
