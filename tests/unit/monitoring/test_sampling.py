"""Which answers are dealt to reviewers: by the id alone, evenly."""

from hypothesis import given
from hypothesis import strategies as st

from monitoring.sampling import is_sampled, place_of


@given(st.text(), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_only_adds(inference_id: str, one: float, other: float) -> None:
    """The place of an id is always the same, in [0, 1); a larger share keeps what a smaller dealt."""
    small, large = sorted((one, other))
    assert 0 <= place_of(inference_id) < 1
    assert is_sampled(inference_id, 1)
    assert not is_sampled(inference_id, 0)
    assert is_sampled(inference_id, large) or not is_sampled(inference_id, small)


def test_a_tenth_is_a_tenth() -> None:
    """Of 20,000 ids about 2,000 are dealt: within five standard deviations."""
    num = sum(is_sampled(f"id-{i}", 0.1) for i in range(20_000))
    assert abs(num - 2000) < 5 * (20_000 * 0.1 * 0.9) ** 0.5
