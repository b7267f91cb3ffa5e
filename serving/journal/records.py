"""The journal's wire format, version 1: what a gateway worker writes and ingest reads.

A segment is a file `<worker id>.<6-digit number>.journal`:

    8 bytes   magic "STROPJ" and the version, 2 bytes little-endian
    frames    payload length, 4 bytes little-endian | CRC-32 of the payload, 4 bytes | payload

A payload has 1 byte to 64 MiB: any other length, zero above all, is damage.

A payload is MessagePack of one of the structs below, as a map whose "type" names the struct.
Readers ignore map keys they do not know; writers may add keys with a default and never change
or reuse one: that is what the version stands for. Times are milliseconds since 1970 or
durations in milliseconds, as their names say; bodies are the bytes that crossed the wire.
A record whose "type" a reader does not know is kept aside, for a later version of it.

A segment is locked (flock) while its worker may append to it, and gets its name when it is locked
already: one without its lock gets no further byte. A worker locks its next segment before it lets
go of the last: one that holds no lock at all is gone. A segment can be copied and read elsewhere: see README.md.
"""

import msgspec

from serving.types import Arm, InferenceStatus, Rating

MAGIC = b"STROPJ" + (1).to_bytes(2, "little")
FRAME_HEAD_BYTES = 8
MAX_PAYLOAD_BYTES = 64 * 2**20
SUFFIX = ".journal"


class Begin(msgspec.Struct, frozen=True, kw_only=True, tag="begin", omit_defaults=True):
    """Written before the engine is called."""

    id: str
    tenant: str
    key_id: str
    endpoint: str
    model: str
    pool: str
    arm: Arm
    propensity: float
    is_streamed: bool
    is_trainable: bool
    request: bytes
    """The body as the engine got it: JSON."""
    alias_id: int | None = None
    release_id: int | None = None
    adapter: str | None = None
    adapter_digest: str | None = None
    canary_revision: int = 0
    subject: str | None = None
    conversation: str | None = None


class End(msgspec.Struct, frozen=True, kw_only=True, tag="end", omit_defaults=True):
    """Written before the last bytes leave for the client, or when it is clear that none will."""

    id: str
    status: InferenceStatus
    end_to_end_ms: float
    http_status: int | None = None
    error: str | None = None
    replica: str | None = None
    """URL of the replica that answered, or was the last one tried."""
    response: bytes = b""
    """What came from the engine so far: JSON, or server-sent events if `is_sse`."""
    is_sse: bool = False
    is_truncated: bool = False
    """Whether `response` was cut to fit into a record."""
    first_token_ms: float | None = None
    inter_token_mean_ms: float | None = None
    inter_token_max_ms: float | None = None
    busy_ms: float | None = None
    """Its share of the replica's time: where several ran at once, they shared it evenly."""


class Feedback(msgspec.Struct, frozen=True, kw_only=True, tag="feedback", omit_defaults=True):
    """A rating that was accepted."""

    id: str
    inference_id: str
    given_at_ms: int
    tenant: str
    rater: str
    key_id: str | None = None
    rating: Rating | None = None
    score: float | None = None
    comment: str | None = None
    demonstration: str | None = None


Record = Begin | End | Feedback
