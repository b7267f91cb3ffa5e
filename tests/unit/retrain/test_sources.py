"""Which rows may train: contradicted, repeated and held-out ones are dropped and counted."""

from datetime import UTC, datetime, timedelta

from retrain.examples import Example, Message
from retrain.sources import Gathered, Judgement, select_rows
from serving.store.learning import Source

DAY = timedelta(days=1)
START = datetime(2026, 1, 1, tzinfo=UTC)


def row(
    question: str, answer: str = "billing", day: int = 0, source: Source = Source.IMPORT
) -> Gathered:
    """Return a row of some day."""
    example = Example(prompt=(Message("user", question),), answer=Message("assistant", answer))
    return Gathered(example=example, source=source, source_id=question, at=START + day * DAY)


def reviews(output: str, verdicts: str, first_day: int) -> list[Judgement]:
    """Return one judgement a day: `+` right, `-` wrong."""
    return [
        Judgement(output=output, is_right=verdict == "+", at=START + (first_day + at) * DAY)
        for at, verdict in enumerate(verdicts)
    ]


def test_older_rows_whose_output_newer_reviews_reject_are_dropped() -> None:
    """A queue is renamed: rows from before go, also corrections; rows from after and others stay."""
    renamed = [*reviews("billing", "+" * 300, 0), *reviews("billing", "-" * 20, 300)]
    rows = [
        row("a"),
        row("b", source=Source.CORRECTION, day=10),
        row("c", "returns"),
        row("d", day=330),
    ]
    selection = select_rows(rows, renamed, [])
    assert sorted(one.source_id for one in selection.kept) == ["c", "d"]
    assert selection.dropped["contradicted"] == 2


def test_a_label_that_a_weak_model_overuses_keeps_its_rows() -> None:
    """Four in five of its answers are wrong, and one is right: the label means something still."""
    overused = reviews("billing", "----+" * 10, 10)
    assert len(select_rows([row("a")], overused, []).kept) == 1


def test_a_few_rejections_prove_nothing() -> None:
    """Fewer than five."""
    assert len(select_rows([row("a")], reviews("billing", "----", 10), []).kept) == 1


def test_a_correction_beats_what_it_corrects() -> None:
    """The same question once only: the best source, then the newest; case and marks make another."""
    rows = [
        row("a", "billing", day=9),
        row("a", "returns", day=1, source=Source.CORRECTION),
        row("b", "old", day=1),
        row("b", "new", day=2),
        row("B", "other"),
    ]
    selection = select_rows(rows, [], [])
    assert sorted(one.example.answer_text for one in selection.kept) == ["new", "other", "returns"]
    assert selection.dropped["duplicate"] == 2


def test_what_an_evaluation_set_holds_never_trains() -> None:
    """Whole or as a long passage, case and marks aside; an instruction that all share is none."""
    instruction = "Read the following request of a customer and name the one queue it belongs to"
    passage = "since last thursday the small green light on the left of my coffee maker blinks"
    held_out = [
        row("Where is my parcel, please?").example,
        row(f"{instruction}\n\n{passage}").example,
        row(f"{instruction}\n\nno sound").example,
    ]
    rows = [
        row("where is my parcel please"),
        row(f"{instruction}\n\nHello, {passage}! Thanks a lot to everyone."),
        row(f"{instruction}\n\nthe mixer has no lid"),
    ]
    selection = select_rows(rows, [], [held_out])
    assert selection.kept == rows[2:]
    assert selection.dropped["overlap"] == 2
