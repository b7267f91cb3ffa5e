"""A replica that fails again and again gets no traffic, then one request, then all of it or none."""

from hypothesis import given
from hypothesis import strategies as st

from serving.routing.ejection import EjectionRules, Standing, answered, failed, left_open, sent

RULES = EjectionRules(eject_after=3, eject_seconds=2.0)
GOOD = Standing()


def after_failures(num: int, now: float = 0.0) -> Standing:
    """Return the standing of a replica that has failed so often, all at once."""
    standing = GOOD
    for _ in range(num):
        standing = failed(standing, now, RULES)
    return standing


def test_failures_in_a_row_put_it_out() -> None:
    """Not before `eject_after` of them; an answer in between begins the count anew."""
    assert after_failures(2).takes_requests(0)
    assert not after_failures(3).takes_requests(0)
    interrupted = failed(failed(answered(), 0, RULES), 0, RULES)
    assert interrupted.takes_requests(0)


def test_half_open_takes_one_request_at_a_time() -> None:
    """When the pause is over one request tries it; the next waits for what becomes of that."""
    out = after_failures(3)
    assert not out.takes_requests(1.9)
    assert out.takes_requests(2.0)
    on_trial = sent(out, 2.0)
    assert not on_trial.takes_requests(2.0)
    assert left_open(on_trial).takes_requests(2.0)


def test_the_trial_decides() -> None:
    """Answered: in again, all forgiven. Failed: out for twice as long."""
    on_trial = sent(after_failures(3), 2.0)
    assert answered() == GOOD
    again = failed(on_trial, 10.0, RULES)
    assert not again.takes_requests(13.9)
    assert again.takes_requests(14.0)


def test_requests_from_before_are_no_news() -> None:
    """That a crowd fails with the replica that they were sent to makes its pause no longer."""
    crowd = after_failures(100)
    assert crowd.out_until == after_failures(3).out_until
    assert crowd.num_ejections == 1


verdicts = st.lists(
    st.tuples(st.sampled_from(["ok", "fail", "open"]), st.floats(0, 100)), max_size=60
)


@given(verdicts)
def test_whatever_comes_it_is_tried_again_within_a_minute(
    story: list[tuple[str, float]],
) -> None:
    """No story puts a replica out for good, and any answer brings it back at once."""
    standing, now = GOOD, 0.0
    for verdict, passed in story:
        now += passed
        was_in = standing.is_in
        if verdict == "open":
            standing = left_open(standing)
        elif verdict == "ok":
            standing = answered()
        else:
            standing = failed(standing, now, RULES)
        assert standing.out_until <= now + 60
        assert left_open(standing).takes_requests(now + 60)
        assert answered().takes_requests(now)
        if was_in and not standing.is_in:
            assert standing.num_failures >= RULES.eject_after


@given(verdicts)
def test_while_out_nothing_is_sent_there(story: list[tuple[str, float]]) -> None:
    """Whoever asks first sends only what may be sent, and there is never a second trial."""
    standing, now = GOOD, 0.0
    for verdict, passed in story:
        now += passed
        if not standing.takes_requests(now):
            continue
        before = standing
        standing = sent(standing, now)
        assert standing.is_on_trial == (not before.is_in)
        if verdict == "fail":
            standing = failed(standing, now, RULES)
        elif verdict == "ok":
            standing = answered()
        else:
            standing = left_open(standing)
        assert not standing.is_on_trial
