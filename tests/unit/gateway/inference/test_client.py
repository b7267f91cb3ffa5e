"""What an error's headers say beside its body."""

import pytest

from gateway.inference.client import error_headers
from serving.errors import RateLimitError


@pytest.mark.parametrize(
    ("wait", "told"), [(0.0, b"1"), (0.2, b"1"), (1.0, b"1"), (1.2, b"2"), (2.5, b"3")]
)
def test_nobody_is_told_to_come_back_too_early(wait: float, told: bytes) -> None:
    """Retry-After knows whole seconds only: they are rounded up, and never 0."""
    error = RateLimitError("Too many.", retry_after=wait)
    assert error_headers(error) == [(b"retry-after", told)]
