"""Who trains, and who stands in line."""

from hypothesis import given
from hypothesis import strategies as st

from retrain.learn import stand_in_line
from serving.store.learning import Run, RunState, Trigger


def make_run(state: RunState, **fields: bool) -> Run:
    """Return a run that is under way."""
    return Run(alias_id=1, trigger=Trigger.PERIOD, reason="r", actor="a", state=state, **fields)


ACTIVE = st.sampled_from([RunState.QUEUED, RunState.TRAINING, RunState.EVALUATING, RunState.PASSED])
RUNS = st.lists(st.builds(make_run, ACTIVE, is_cancelled=st.booleans()), max_size=8)


@given(RUNS, st.integers(1, 3))
def test_as_many_train_as_may_and_the_first_come_first(runs: list[Run], max_at_once: int) -> None:
    """The line is the end of the queue. What is cancelled, or trained, never stands in it."""
    queued = [run for run in runs if run.state is RunState.QUEUED and not run.is_cancelled]
    num_training = sum(run.state is RunState.TRAINING for run in runs)
    num_free = max(0, max_at_once - num_training)
    line = stand_in_line(runs, max_at_once)
    assert list(map(id, line)) == list(map(id, queued[num_free:]))
