"""What an endpoint is to the gateway. Where a subclass says nothing, it speaks as OpenAI's chats do."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import msgspec

from gateway.policy.checks import Check
from serving.errors import StropError

Fields = dict[str, Any]


class ErrorWords(msgspec.Struct):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    """The request's field at fault, or the path to what is in it."""
    code: str


class ErrorBody(msgspec.Struct):
    """How errors look to OpenAI's clients."""

    error: ErrorWords


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What an event of a stream means to the gateway, if it is no piece of the answer."""

    is_end: bool = False
    """Nothing belongs to the answer after it."""
    is_error: bool = False
    has_usage: bool = False
    is_usage_only: bool = False
    """It is there for the usage, and only where that was asked for."""


END: Final = Mark(is_end=True)
FAILED_END: Final = Mark(is_end=True, is_error=True)
USAGE: Final = Mark(has_usage=True)
USAGE_ONLY: Final = Mark(has_usage=True, is_usage_only=True)
END_WITH_USAGE: Final = Mark(is_end=True, has_usage=True)
ERROR: Final = Mark(is_error=True)
NO_TOKEN: Final = Mark()
"""An event that comes before the model has said anything."""


class Endpoint:
    """One of the engine's routes, as the gateway offers it."""

    path: ClassVar[str]
    summary: ClassVar[str]
    fields: ClassVar[Mapping[str, Check]]
    """All that goes on, and within which bounds."""
    required: ClassVar[tuple[str, ...]]
    stateful: ClassVar[frozenset[str]] = frozenset()
    """Fields that only `null` and `false` are served of: nothing is kept between requests."""
    key_header: ClassVar[bytes | None] = None
    """Where a key may stand if there is no `Authorization`."""
    is_recorded: ClassVar[bool] = True
    """Whether a request is an inference: kept, rated and learnt from."""
    usual_answer_tokens: ClassVar[int | None] = None
    """Most tokens of an answer where nobody says; None: as many as fit."""
    last_event: ClassVar[str] = "[DONE]"
    """What a stream that is whole ends with, in words."""
    error_form: ClassVar[type[msgspec.Struct]] = ErrorBody
    """What `error_body` looks like, for the document."""

    def subject(self, fields: Fields) -> str | None:
        """Return whom a request is about."""
        user: str | None = fields.get("user")
        return user

    def add_system_prompt(self, fields: Fields, prompt: str) -> None:
        """Say how the model is to behave, unless the client does."""

    def as_here(self, name: str, value: Any) -> tuple[str, Any]:
        """Return a release's default, named as in chats, as it is said in this dialect."""
        return name, value

    def add_own_fields(self, fields: Fields, inference_id: str, *, is_vllm: bool) -> None:
        """Ask for what only the gateway wants."""

    def wants_usage(self, fields: Fields) -> bool:
        """Whether events that are `is_usage_only` are the client's, too."""
        return True

    def mark(self, event: bytes) -> Mark | None:
        """Return what an event means; None: it is a piece of the answer, like most.

        Takes well under a microsecond for those: it is asked for every token.
        """
        return None

    def error_body(self, error: StropError) -> Any:
        """Return the body of an answer that carries an error."""
        return error.to_body()

    def error_event(self, error: StropError) -> bytes:
        """Return the event that tells of an error in mid-stream."""
        return b"data: %b\n\n" % msgspec.json.encode(self.error_body(error))

    def refusal(self, status: int, body: bytes) -> bytes:
        """Return what an engine said that refused a request with `status`, in this dialect."""
        return body

    def to_record(self, answer: bytes) -> bytes:
        """Return what is worth keeping of an answer in one piece."""
        return answer


def data_of(event: bytes) -> bytes:
    """Return an event's data: its `data` lines, joined. Lines end with LF, CRLF or CR only."""
    lines = event.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    data = [line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")]
    return b"\n".join(data)


def name_of(event: bytes) -> bytes:
    """Return the name that an event begins with; empty if it does not."""
    if not event.startswith(b"event:"):
        return b""
    return event[6:].split(b"\n", 1)[0].split(b"\r", 1)[0].strip(b" ")
