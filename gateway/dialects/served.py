"""The endpoints that the gateway serves, and what they take together."""

from collections.abc import Iterator
from typing import Final

from gateway.dialects.chat import CHAT
from gateway.dialects.completions import COMPLETIONS, EMBEDDINGS
from gateway.dialects.endpoint import Endpoint
from gateway.dialects.messages import COUNT_TOKENS, MESSAGES
from gateway.dialects.responses import RESPONSES
from gateway.policy.checks import Range

ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    CHAT,
    COMPLETIONS,
    RESPONSES,
    MESSAGES,
    COUNT_TOKENS,
    EMBEDDINGS,
)


def optional_fields() -> frozenset[str]:
    """Return what some endpoint takes and no endpoint needs."""
    needed = {name for endpoint in ENDPOINTS for name in endpoint.required}
    return frozenset(name for endpoint in ENDPOINTS for name in endpoint.fields) - needed


def ranges() -> Iterator[tuple[str, Range]]:
    """Yield the fields that are numbers, with their bounds, once for each endpoint."""
    for endpoint in ENDPOINTS:
        for name, check in endpoint.fields.items():
            if isinstance(check, Range):
                yield name, check
