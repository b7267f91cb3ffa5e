"""No call of `/api` hangs: 503 when a handler, or the database before it, does not come to an end.

A database that stands still (a frozen machine, a stuck disk) keeps its connections open and says
nothing, so nothing below ever fails.
"""

import asyncio
import logging
from collections.abc import Awaitable
from typing import Final

from litestar import Request
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send
from sqlalchemy import text

from gateway.errors import AnyRequest
from serving.errors import UnavailableError
from serving.store.database import Database

logger = logging.getLogger("strop.gateway")

SECONDS: Final = 10.0
PATIENT: Final = {"deadline_seconds": 900.0}
"""`opt` of handlers that load adapters into engines or read whole ones."""
_ANSWER_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 5.0


class Deadline(ASGIMiddleware):
    """Ends a handler when its time is up."""

    scopes = (ScopeType.HTTP,)

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Run the rest of the application."""
        seconds = scope["route_handler"].opt.get("deadline_seconds", self._seconds)
        await within(seconds, next_app(scope, receive, send), name_of(Request(scope)))


def name_of(request: AnyRequest) -> str:
    """Return how the log calls a request."""
    return f"{request.method} {request.scope['path']}"


async def expect_database(database: Database, call: str) -> None:
    """Ask the database for a word, so that a patient handler need not wait for it in vain.

    Raises:
        UnavailableError: it does not answer.
    """
    await within(_ANSWER_SECONDS, _ask(database), f"{call}: the database")


async def within(seconds: float, work: Awaitable[None], what: str) -> None:
    """Wait for `work`, but not longer.

    Late work is cancelled and left to itself: giving up a query at a database that stands still
    takes psycopg ten seconds more.

    Raises:
        UnavailableError: it took longer; the log names `what`.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
    finally:
        if not task.done():
            task.cancel()
            task.add_done_callback(_note_end)
    if task.done():
        task.result()
        return
    logger.error("%s did not answer within %g s", what, seconds)
    raise UnavailableError(
        f"There was no answer within {seconds:g} s: the database or an engine stands still. "
        "Try again.",
        retry_after=_RETRY_SECONDS,
    )


async def _ask(database: Database) -> None:
    async with database.session() as session:
        await session.scalar(text("SELECT 1"))


def _note_end(task: asyncio.Future[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        logger.warning("What was given up ended with %r", error)
