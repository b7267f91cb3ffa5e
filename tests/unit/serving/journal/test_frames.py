"""Frames: every cut of a segment is a torn tail, every flipped bit is noticed."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.journal.frames import Tail, pack, read_batch
from serving.journal.records import MAGIC

PAYLOADS = [b"one", b"two" * 40, b"three" * 9]
SEGMENT = MAGIC + b"".join(pack(payload) for payload in PAYLOADS)
ENDS = [len(MAGIC) + sum(8 + len(p) for p in PAYLOADS[:count]) for count in range(4)]
RELAXED = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@RELAXED
@given(size=st.integers(0, len(SEGMENT)))
def test_a_cut_segment_keeps_its_whole_frames(tmp_path: Path, size: int) -> None:
    """Wherever a write ended, what came whole before it is read and the rest is no damage."""
    path = tmp_path / "segment"
    path.write_bytes(SEGMENT[:size])
    batch = read_batch(path, 0, 2**20)
    whole = [end for end in ENDS[1:] if end <= size]
    assert [frame.payload for frame in batch.frames] == PAYLOADS[: len(whole)]
    assert batch.tail is (Tail.CLEAN if size in ENDS else Tail.PARTIAL)
    assert batch.end == max([end for end in ENDS if end <= size], default=0)


@RELAXED
@given(position=st.integers(0, len(SEGMENT) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_never_becomes_a_record(tmp_path: Path, position: int, bit: int) -> None:
    """What is read are the frames before the flip, unchanged."""
    content = bytearray(SEGMENT)
    content[position] ^= 1 << bit
    path = tmp_path / "segment"
    path.write_bytes(content)
    batch = read_batch(path, 0, 2**20)
    read = [frame.payload for frame in batch.frames]
    assert read == PAYLOADS[: len(read)]
    assert batch.end <= position
    assert batch.tail in (Tail.PARTIAL, Tail.DAMAGED)


@pytest.mark.parametrize("max_bytes", [1, 50, 150, 2**20])
def test_batches_together_are_the_segment(tmp_path: Path, max_bytes: int) -> None:
    """A batch is bounded, holds at least one frame, and says where to go on."""
    path = tmp_path / "segment"
    path.write_bytes(SEGMENT)
    offset, read = 0, []
    for _ in range(len(PAYLOADS) + 1):
        batch = read_batch(path, offset, max_bytes)
        read += [frame.payload for frame in batch.frames]
        offset = batch.end
    assert (read, offset) == (PAYLOADS, len(SEGMENT))


@pytest.mark.parametrize(
    ("tail", "verdict"),
    [
        (b"\0" * 100, Tail.PARTIAL),  # room that a power cut left unwritten
        (b"\0" * 100 + b"x", Tail.DAMAGED),
        (b"\xff" * 100, Tail.DAMAGED),  # no record is 4 GiB long
        (pack(b"four")[:-1] + b"X", Tail.PARTIAL),  # the last pages of the last record
        (pack(b"four")[:-1] + b"X" + pack(b"five"), Tail.DAMAGED),
    ],
)
def test_torn_is_told_from_damaged(tmp_path: Path, tail: bytes, verdict: Tail) -> None:
    """Torn is what an interrupted last write can leave; all else is damage."""
    path = tmp_path / "segment"
    path.write_bytes(SEGMENT + tail)
    batch = read_batch(path, 0, 2**20)
    assert (len(batch.frames), batch.tail) == (3, verdict)


def test_another_version_is_not_read(tmp_path: Path) -> None:
    """A magic that is not ours stops the reader before the first frame."""
    path = tmp_path / "segment"
    path.write_bytes(b"STROPJ\x02\x00" + SEGMENT[8:])
    assert read_batch(path, 0, 2**20).tail is Tail.DAMAGED
