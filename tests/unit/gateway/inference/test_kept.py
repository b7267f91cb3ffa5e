"""What is kept of an answer: all that a record takes, and not much more."""

import os
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from gateway.inference.kept import Kept
from serving.journal.segments import list_segments
from serving.journal.writer import JournalWriter
from serving.sections import JournalSettings
from tests.gateway import records_of
from tests.journal import make_begin, make_end
from tests.unit.gateway.test_events import cut

MOST = 2**16
LONG = os.urandom(2 * MOST)


def kept_of(pieces: list[bytes]) -> bytes:
    """Return what is kept of these."""
    kept = Kept(MOST)
    for piece in pieces:
        kept.add(piece)
    return kept.content()


@given(
    st.one_of(st.integers(0, len(LONG)), st.integers(MOST - 500, MOST + 500)),
    st.lists(st.integers(0, len(LONG)), max_size=12),
)
def test_the_record_of_what_was_kept_is_that_of_all(length: int, cuts: list[int]) -> None:
    """Cut and marked by the journal's writer at the same byte, or whole."""
    answer, begin = LONG[:length], make_begin()
    with tempfile.TemporaryDirectory() as folder:
        writer = JournalWriter(Path(folder), JournalSettings(max_record_bytes=MOST), "w-1")
        for response in (answer, kept_of(cut(answer, cuts))):
            writer.append(make_end(begin, response=response))
        writer.close()
        of_all, of_kept = (
            record for segment in list_segments(Path(folder)) for record in records_of(segment)
        )
    assert of_kept == of_all


def test_what_no_record_would_take_is_let_go_of() -> None:
    """However long a stream goes on, no more than the piece that passes the limit is added."""
    assert len(kept_of([b"x" * 1000] * 10_000)) < MOST + 1000
