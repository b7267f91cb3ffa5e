"""When a silent child is given up: never too early, and always at last."""

from hypothesis import given
from hypothesis import strategies as st

from serving.fleet.pulse import Pulse

QUESTIONS = st.lists(st.tuples(st.floats(0, 1000), st.booleans()), max_size=30)


@given(questions=QUESTIONS, patience=st.floats(0.1, 5000))
def test_a_child_is_lost_only_after_its_whole_patience(
    questions: list[tuple[float, bool]], patience: float
) -> None:
    """Silent since the first of three questions or more, none of them answered well in between."""
    pulse, now = Pulse(), 0.0
    asked: list[float] = []
    for pause, is_well in questions:
        now += pause
        asked = [] if is_well else [*asked, now]
        pulse = pulse.after(asked_at=now, is_well=is_well)
        is_lost = len(asked) >= 3 and now - asked[0] >= patience
        assert pulse.is_lost(now=now, patience_seconds=patience) is is_lost


def test_our_own_sleep_is_not_held_against_a_child() -> None:
    """The machine was stopped for an hour between two questions: one bad answer proves nothing."""
    pulse = Pulse().after(asked_at=5.0, is_well=True).after(asked_at=3605.0, is_well=False)
    assert not pulse.is_lost(now=3610.0, patience_seconds=120)
