"""From records to rows: pure, and clean enough for PostgreSQL to take them.

TEXT cannot hold NUL, so it is dropped. JSON columns are of type `json`: they keep a body's own
text; a body that is no JSON (an engine's error page, a cut answer) is kept as a JSON string.
"""

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from serving.ids import begun_at, moment_of
from serving.journal.answers import Usage, assemble, usage_of
from serving.journal.records import Begin, End, Feedback
from serving.types import InferenceStatus


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


_STRICT_JSON: Final = json.JSONDecoder(parse_constant=_refuse_constant)
_SKIP_JSON: Final = msgspec.json.Decoder(msgspec.Raw)
_Text = TypeVar("_Text", str, str | None)


class BegunRow(NamedTuple):
    """The columns of an inference that its begin tells; `request` is JSON text."""

    id: str
    begun_at: datetime
    worker_id: str
    tenant: str
    key_id: str
    endpoint: str
    model: str
    alias_id: int | None
    release_id: int | None
    adapter: str | None
    adapter_digest: str | None
    pool: str
    arm: str
    propensity: float
    canary_revision: int
    subject: str | None
    conversation: str | None
    is_streamed: bool
    is_trainable: bool
    request: str | None


class EndedRow(NamedTuple):
    """The primary key of an inference and the columns that its end tells; `response` is JSON text."""

    id: str
    begun_at: datetime
    status: str
    http_status: int | None = None
    error: str | None = None
    replica: str | None = None
    response: str | None = None
    is_truncated: bool = False
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    first_token_ms: float | None = None
    inter_token_mean_ms: float | None = None
    inter_token_max_ms: float | None = None
    busy_ms: float | None = None
    end_to_end_ms: float | None = None


class FeedbackRow(NamedTuple):
    """A rating."""

    id: str
    given_at: datetime
    inference_id: str
    tenant: str
    rater: str
    key_id: str | None
    rating: str | None
    score: float | None
    comment: str | None
    demonstration: str | None


Row = BegunRow | EndedRow | FeedbackRow


@dataclass(slots=True)
class Rows:
    """What a run of records amounts to."""

    begins: list[BegunRow] = field(default_factory=list)
    ends: dict[str, EndedRow] = field(default_factory=dict)
    """By inference id."""
    feedback: list[FeedbackRow] = field(default_factory=list)


def begin_row(record: Begin, worker_id: str) -> BegunRow:
    """Return the inference as it began.

    Raises:
        ValueError: the record's id is none of ours.
    """
    return BegunRow(
        id=record.id,
        begun_at=begun_at(record.id),
        worker_id=worker_id,
        tenant=_clean(record.tenant),
        key_id=_clean(record.key_id),
        endpoint=_clean(record.endpoint),
        model=_clean(record.model),
        alias_id=record.alias_id,
        release_id=record.release_id,
        adapter=_clean(record.adapter),
        adapter_digest=_clean(record.adapter_digest),
        pool=_clean(record.pool),
        arm=record.arm.value,
        propensity=record.propensity,
        canary_revision=record.canary_revision,
        subject=_clean(record.subject),
        conversation=_clean(record.conversation),
        is_streamed=record.is_streamed,
        is_trainable=record.is_trainable,
        request=json_text(record.request),
    )


def end_row(record: End) -> EndedRow:
    """Return what the end tells of the inference.

    Raises:
        ValueError: the record's id is none of ours.
    """
    response, usage = _read_answer(record)
    return EndedRow(
        id=record.id,
        begun_at=begun_at(record.id),
        status=record.status.value,
        http_status=record.http_status,
        error=_clean(record.error),
        replica=_clean(record.replica),
        response=response,
        is_truncated=record.is_truncated,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        first_token_ms=record.first_token_ms,
        inter_token_mean_ms=record.inter_token_mean_ms,
        inter_token_max_ms=record.inter_token_max_ms,
        busy_ms=record.busy_ms,
        end_to_end_ms=record.end_to_end_ms,
    )


def running_row(begun: BegunRow) -> EndedRow:
    """Return what stands in for the end of an inference that has none yet."""
    return EndedRow(begun.id, begun.begun_at, InferenceStatus.RUNNING.value)


def feedback_row(record: Feedback) -> FeedbackRow:
    """Return the rating.

    Raises:
        ValueError: its time is outside of what a date can be.
    """
    return FeedbackRow(
        id=_clean(record.id),
        given_at=moment_of(record.given_at_ms),
        inference_id=_clean(record.inference_id),
        tenant=_clean(record.tenant),
        rater=_clean(record.rater),
        key_id=_clean(record.key_id),
        rating=record.rating.value if record.rating else None,
        score=record.score,
        comment=_clean(record.comment),
        demonstration=_clean(record.demonstration),
    )


def json_text(body: bytes) -> str | None:
    """Return a body as the text of a JSON column; None: there is none."""
    if not body:
        return None
    text = body.decode("utf-8", "replace")
    return text if _is_json(text) else json.dumps(text)


def _read_answer(record: End) -> tuple[str | None, Usage]:
    if not record.is_sse:
        text = json_text(record.response)
        return text, usage_of(_parse(text)) if text else Usage()
    answer = assemble(record.response)
    if answer is None:
        return json_text(record.response), Usage()
    # Escaped, because a stream may end between the halves of a surrogate pair.
    return json.dumps(answer), usage_of(answer)


def _is_json(text: str) -> bool:
    """Ask msgspec, fifteen times as fast; json where it says no, for half a surrogate pair is JSON."""
    try:
        _SKIP_JSON.decode(text)
    except (ValueError, RecursionError):
        return _is_json_to_python(text)
    return True


def _is_json_to_python(text: str) -> bool:
    try:
        _STRICT_JSON.decode(text)
    except (ValueError, RecursionError):
        return False
    return True


def _parse(text: str) -> Any:
    """Read JSON with msgspec; with json what is beyond that, such as 1e999."""
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return json.loads(text)


def _clean(text: _Text) -> _Text:
    """Take out what TEXT refuses."""
    return text.replace("\0", "") if text else text
