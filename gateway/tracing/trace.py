"""What the data path tells of a request, for whoever traces it. Here that is nobody.

Where `gateway.otlp_endpoint` names a collector, `spans.py` makes spans of what is told and
`collector.py` sends them off. Without one neither is loaded, and a request pays for calls of empty
methods.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType, TracebackType
from typing import Final, Self

from gateway.dialects.endpoint import Endpoint
from gateway.http.headers import Headers
from gateway.http.reply import Reply
from gateway.inference.order import Order
from serving.types import InferenceStatus

_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
_NOTHING: Final = nullcontext()


class Trace:
    """One request, as it is told: `with trace:` is its life. This one forgets everything."""

    @property
    def headers(self) -> Mapping[str, str]:
        """What the engine is told of the trace."""
        return _NO_HEADERS

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """The request is over."""

    def ordered(self, order: Order) -> None:
        """Its model is known, and who answers."""

    def call(self, replica: str) -> AbstractContextManager[None]:
        """Return what surrounds one call of an engine, its answer included."""
        return _NOTHING

    def call_answered(self, http_status: int) -> None:
        """The engine has sent its head."""

    def call_failed(self, code: str) -> None:
        """The call came to nothing; another one may follow."""

    def saw_first_token(self, seconds: float) -> None:
        """A stream's first event came, so long after the request was recorded."""

    def used_tokens(self, prompt: int, completion: int) -> None:
        """The engine has said how many tokens it took."""

    def ended(self, status: InferenceStatus) -> None:
        """Its record is closed."""

    def failed(self, code: str) -> None:
        """The client is told of an error."""


class Tracing:
    """Begins traces. This one's forget everything."""

    def __init__(self) -> None:
        self._nothing = Trace()

    def begin(self, endpoint: Endpoint, headers: Headers, reply: Reply) -> Trace:
        """Return what a request is told to.

        Args:
            endpoint: where it came in.
            headers: the client's; its `traceparent` is gone on with.
            reply: knows at the end which status the client got.
        """
        return self._nothing

    async def close(self) -> None:
        """Send what is left."""
