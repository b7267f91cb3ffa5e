"""Frames: how records lie one after the other in a segment, and how a reader knows one is whole."""

import struct
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO
from zlib import crc32

import msgspec

from serving.journal.records import FRAME_HEAD_BYTES, MAGIC, MAX_PAYLOAD_BYTES

_HEAD = struct.Struct("<II")


class Tail(StrEnum):
    """What follows the frames of a batch."""

    MORE = "more"  # perhaps further frames: the batch is full
    CLEAN = "clean"  # nothing
    PARTIAL = "partial"  # part of a frame: still being written, or torn where the writer died
    DAMAGED = "damaged"  # bytes that no writer of this version wrote


class Frame(msgspec.Struct, frozen=True, gc=False):
    """A payload whose checksum was right."""

    offset: int
    """Where the frame begins in its segment."""
    payload: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """Neighbouring whole frames of one segment."""

    frames: tuple[Frame, ...]
    end: int
    """Offset after the last whole frame: where to go on."""
    tail: Tail


def pack(payload: bytes) -> bytes:
    """Return the frame of a payload."""
    return _HEAD.pack(len(payload), crc32(payload)) + payload


def read_batch(path: Path, offset: int, max_bytes: int) -> Batch:
    """Read whole frames from `offset` on, until there are `max_bytes` of them, but at least one.

    Args:
        path: the segment.
        offset: 0, or the `end` of the batch before.
        max_bytes: where to stop; the last frame may go over it.
    """
    with path.open("rb") as file:
        if offset == 0:
            magic = file.read(len(MAGIC))
            if magic != MAGIC:
                return Batch((), 0, Tail.PARTIAL if MAGIC.startswith(magic) else Tail.DAMAGED)
            offset = len(MAGIC)
        file.seek(offset)
        return _read_frames(file, offset, max_bytes)


def _read_frames(file: BinaryIO, offset: int, max_bytes: int) -> Batch:
    frames: list[Frame] = []
    limit = offset + max_bytes
    while offset < limit:
        found = _read_frame(file, offset)
        if isinstance(found, Tail):
            return Batch(tuple(frames), offset, found)
        frames.append(found)
        offset += FRAME_HEAD_BYTES + len(found.payload)
    return Batch(tuple(frames), offset, Tail.MORE)


def _read_frame(file: BinaryIO, offset: int) -> Frame | Tail:
    head = file.read(FRAME_HEAD_BYTES)
    if len(head) < FRAME_HEAD_BYTES:
        return Tail.PARTIAL if head else Tail.CLEAN
    length, checksum = _HEAD.unpack(head)
    if not 0 < length <= MAX_PAYLOAD_BYTES:
        # A power cut may leave a tail of zeros: room that was given but never written.
        return Tail.DAMAGED if any(head) or file.read().strip(b"\0") else Tail.PARTIAL
    payload = file.read(length)
    if len(payload) < length:
        return Tail.PARTIAL
    if crc32(payload) != checksum:
        return Tail.DAMAGED if file.read(1) else Tail.PARTIAL
    return Frame(offset, payload)
