"""Which answers people are asked to judge: decided by the id alone, so that anyone can check it."""

from hashlib import blake2b

_PLACE_BYTES = 8


def is_sampled(inference_id: str, share: float) -> bool:
    """Whether an inference is dealt to reviewers.

    Its id holds random bytes of ours and a signature: nobody outside can choose its place.

    Args:
        share: the probability, 0 to 1.
    """
    return place_of(inference_id) < share


def place_of(inference_id: str) -> float:
    """Return the place of an id in [0, 1): evenly spread, always the same."""
    digest = blake2b(inference_id.encode(), digest_size=_PLACE_BYTES).digest()
    # 53 bits, as many as a float holds exactly: rounding never makes it 1.
    return (int.from_bytes(digest, "big") >> 11) / 2**53
