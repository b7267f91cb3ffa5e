"""From records to rows: pure, and clean enough for PostgreSQL to take them.

TEXT cannot hold NUL, so it is dropped. JSON columns are of type `json`: they keep a body's own
text; a body that is no JSON (an engine's error page, a cut answer) is kept as a JSON string.
"""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from serving.ids import begun_at
from serving.journal.answers import Usage, assemble, usage_of
from serving.journal.records import Begin, End, Feedback
from serving.types import InferenceStatus


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


_STRICT_JSON: Final = json.JSONDecoder(parse_constant=_refuse_constant)

Row = dict[str, Any]
"""Column -> value, as psycopg takes it; JSON columns hold JSON text."""


@dataclass(slots=True)
class Rows:
    """What a run of records amounts to."""

    begins: list[Row] = field(default_factory=list)
    ends: dict[str, Row] = field(default_factory=dict)
    """By inference id."""
    feedback: list[Row] = field(default_factory=list)


def begin_row(record: Begin, worker_id: str) -> Row:
    """Return the inference as it began.

    Raises:
        ValueError: the record's id is none of ours.
    """
    row = _plain(record)
    row.update(
        begun_at=begun_at(record.id),
        worker_id=worker_id,
        status=InferenceStatus.RUNNING.value,
        request=json_text(record.request),
        is_truncated=False,
    )
    return row


def end_row(record: End) -> Row:
    """Return the columns of an inference that its end decides, and its primary key.

    Raises:
        ValueError: the record's id is none of ours.
    """
    row = _plain(record)
    del row["is_sse"]
    response, usage = _read_answer(record)
    row.update(
        begun_at=begun_at(record.id),
        response=response,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
    )
    return row


def feedback_row(record: Feedback) -> Row:
    """Return the rating.

    Raises:
        ValueError: its time is outside of what a date can be.
    """
    row = _plain(record)
    seconds, milliseconds = divmod(row.pop("given_at_ms"), 1000)
    try:
        given_at = datetime.fromtimestamp(seconds, UTC)
    except OverflowError as error:
        raise ValueError(f"given_at_ms: {error}") from error
    row["given_at"] = given_at.replace(microsecond=milliseconds * 1000)
    return row


def json_text(body: bytes) -> str | None:
    """Return a body as the text of a JSON column; None: there is none."""
    if not body:
        return None
    text = body.decode("utf-8", "replace")
    return text if _is_json(text) else json.dumps(text)


def _read_answer(record: End) -> tuple[str | None, Usage]:
    if not record.is_sse:
        text = json_text(record.response)
        return text, usage_of(json.loads(text)) if text else Usage()
    answer = assemble(record.response)
    if answer is None:
        return json_text(record.response), Usage()
    # Escaped, because a stream may end between the halves of a surrogate pair.
    return json.dumps(answer), usage_of(answer)


def _is_json(text: str) -> bool:
    try:
        _STRICT_JSON.decode(text)
    except (ValueError, RecursionError):
        return False
    return True


def _plain(record: Begin | End | Feedback) -> Row:
    return {name: _clean(value) for name, value in msgspec.structs.asdict(record).items()}


def _clean(value: Any) -> Any:
    """Take the word of an enumeration, and what TEXT refuses out of a text."""
    return str(value).replace("\0", "") if isinstance(value, str) else value
