"""What endpoints make of answers in one piece."""

from gateway.dialects.completions import EMBEDDINGS
from gateway.dialects.messages import MESSAGES


def test_an_answer_nested_too_deeply_to_be_read_is_no_fault_of_ours() -> None:
    """Engines may say anything: it is kept as it came, or told in our words."""
    deep = b'{"error": ' + b"[" * 100_000
    assert EMBEDDINGS.to_record(deep) == deep
    assert b"refused" in MESSAGES.refusal(400, deep)
