"""What an answer used, as the engine says in its last words."""

from typing import Any, Final

import msgspec

from serving.journal.answers import Usage, usage_of


class _Usable(msgspec.Struct):
    usage: dict[str, Any] | None = None


class _Answer(_Usable):
    response: _Usable | None = None
    """In the last event of /v1/responses."""


_ANSWERS: Final = msgspec.json.Decoder(_Answer)


def read_usage(answer: bytes) -> Usage:
    """Read the usage in the JSON of an answer, or of a stream's event that tells it.

    Raises:
        ValueError, RecursionError: it is none, or its usage is not of that form.
    """
    found = _ANSWERS.decode(answer)
    return usage_of({"usage": (found.response or found).usage})
