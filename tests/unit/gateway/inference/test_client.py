"""The client's side: whether it takes what it is sent, and when it is told to come back."""

import asyncio

import pytest
from litestar.types import Message

from gateway.inference.client import ClientGoneError, Patience, Reply, error_headers
from serving.errors import RateLimitError


async def test_patience_begins_anew_with_every_piece() -> None:
    """However long an answer takes: only a piece that is not taken ends it."""
    with Patience(0.6) as taken:
        for _ in range(4):
            await taken(asyncio.sleep(0.2))
        await asyncio.sleep(0.7)  # the engine's silence is nobody's fault here
        await taken(asyncio.sleep(0))
        with pytest.raises(ClientGoneError):
            await taken(asyncio.sleep(60))
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_cancellation_from_elsewhere_stays_one() -> None:
    """The server's, at its end: it is not the client that has gone."""

    async def send() -> None:
        with Patience(60) as taken:
            await taken(asyncio.sleep(60))

    sending = asyncio.create_task(send())
    await asyncio.sleep(0)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending


@pytest.mark.parametrize(
    ("wait", "told"), [(0.0, b"1"), (0.2, b"1"), (1.0, b"1"), (1.2, b"2"), (2.5, b"3")]
)
def test_nobody_is_told_to_come_back_too_early(wait: float, told: bytes) -> None:
    """Retry-After knows whole seconds only: they are rounded up, and never 0."""
    error = RateLimitError("Too many.", retry_after=wait)
    assert error_headers(error) == [(b"retry-after", told)]


async def test_an_error_that_nobody_is_left_to_hear_is_none() -> None:
    """The transport is closed already: nothing is raised, or a bug would be reported."""

    async def send(message: Message) -> None:
        raise OSError("closed")

    await Reply(send).fail(RateLimitError("Too many."))
