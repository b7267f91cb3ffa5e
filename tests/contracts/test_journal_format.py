"""Version 1 of the journal, in bytes: what was written once reads back for ever.

`data/v1.journal` was written by the first version and is never written again. A change that
breaks this test needs a new version of the format, not new bytes.
"""

from pathlib import Path

from serving.journal.frames import Tail, read_batch
from serving.journal.reader import decode
from serving.journal.records import Begin, End, Feedback
from serving.journal.writer import JournalWriter
from serving.sections import JournalSettings
from serving.types import Arm, InferenceStatus, Rating

GOLDEN = Path(__file__).parent / "data" / "v1.journal"
ID = "06hjk1p0010020g40o30801jlbu1k2c5s6q0d5e6f7g8h9ij"
RECORDS = [
    Begin(
        id=ID,
        tenant="default",
        key_id="k1",
        endpoint="/v1/chat/completions",
        model="support",
        pool="default",
        arm=Arm.CHALLENGER,
        propensity=0.25,
        is_streamed=True,
        is_trainable=True,
        request=b'{"messages":[{"role":"user","content":"Gr\xc3\xbc\xc3\x9fe"}]}',
        alias_id=1,
        release_id=2,
        adapter="support-v1-0a1b2c3d",
        adapter_digest="0a1b2c3d" * 8,
        canary_revision=3,
        subject="ada",
        conversation="c-1",
    ),
    End(
        id=ID,
        status=InferenceStatus.CLIENT_ABORTED,
        end_to_end_ms=250.5,
        http_status=200,
        error="the client went away",
        replica="http://127.0.0.1:8100",
        response=b'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n',
        is_sse=True,
        is_truncated=True,
        first_token_ms=20.25,
        inter_token_mean_ms=5.5,
        inter_token_max_ms=9.75,
    ),
    Feedback(
        id="f" * 32,
        inference_id=ID,
        given_at_ms=1_790_000_000_123,
        tenant="default",
        rater="ada",
        key_id="k1",
        rating=Rating.DOWN,
        score=0.5,
        comment="no",
        demonstration="Hello",
    ),
    Begin(
        id=ID,
        tenant="default",
        key_id="k1",
        endpoint="/v1/completions",
        model="base",
        pool="default",
        arm=Arm.BASE,
        propensity=1.0,
        is_streamed=False,
        is_trainable=False,
        request=b"{}",
    ),
]


def test_version_1_reads_back() -> None:
    """Every field of every record, and the defaults of those left out."""
    batch = read_batch(GOLDEN, 0, 2**20)
    assert [decode(frame.payload) for frame in batch.frames] == RECORDS
    assert (batch.tail, batch.end) == (Tail.CLEAN, GOLDEN.stat().st_size)


def test_the_writer_still_writes_version_1(tmp_path: Path) -> None:
    """Today's writer makes the same bytes, so an older reader of version 1 reads them."""
    writer = JournalWriter(tmp_path, JournalSettings(), "w-1")
    for record in RECORDS:
        writer.append(record)
    writer.close()
    assert (tmp_path / "w-1.000001.journal").read_bytes() == GOLDEN.read_bytes()
