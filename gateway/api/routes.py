"""`/api`: the nouns of the command over HTTP, for keys of operators and reviewers, with the same JSON.

The application keeps `runtime` (gateway.runtime) and `resources` (gateway.operations) in its state.
"""

import logging
from typing import Any

from litestar import Response, Router
from litestar.di import Provide
from litestar.types import ControllerRouterHandler, Guard
from sqlalchemy.exc import DataError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionError

from gateway.api.access import (
    provide_page,
    provide_principal,
    provide_resources,
    require_operator,
    require_reviewer,
)
from gateway.api.aliases import AliasesController
from gateway.api.deadline import Deadline, name_of
from gateway.api.keys import KeysController
from gateway.api.learning import DatasetsController, RunsController, evaluations
from gateway.api.reviews import ReviewsController
from gateway.api.serving import AdaptersController, ReleasesController, status
from gateway.errors import AnyRequest, answer_strop_error
from gateway.operations.resources import unfit
from serving.errors import InvalidRequestError, UnavailableError

_logger = logging.getLogger("strop.gateway")
_RETRY_SECONDS = 5


def api_handlers() -> list[Router]:
    """Return what an application registers to have `/api`."""
    for_operators: list[ControllerRouterHandler] = [
        KeysController,
        AliasesController,
        AdaptersController,
        ReleasesController,
        DatasetsController,
        RunsController,
        evaluations,
        status,
    ]
    return [
        _router(require_operator, for_operators),
        _router(require_reviewer, [ReviewsController]),
    ]


def _router(guard: Guard, handlers: list[ControllerRouterHandler]) -> Router:
    return Router(
        "/api",
        route_handlers=handlers,
        guards=[guard],
        dependencies={
            "resources": Provide(provide_resources),
            "principal": Provide(provide_principal),
            "page": Provide(provide_page),
        },
        middleware=[Deadline()],
        exception_handlers={
            OperationalError: answer_database_away,
            InterfaceError: answer_database_away,
            NoConnectionError: answer_database_away,
            DataError: answer_unfit,
            UnicodeDecodeError: answer_unreadable,
            RecursionError: answer_unreadable,
        },
        tags=["api"],
    )


def answer_database_away(request: AnyRequest, error: Exception) -> Response[Any]:
    """Answer 503: `/v1` goes on without the database, `/api` cannot."""
    _logger.error("%s: the database does not answer: %r", name_of(request), error)
    away = UnavailableError("The database does not answer. Try again.", retry_after=_RETRY_SECONDS)
    return answer_strop_error(request, away)


def answer_unfit(request: AnyRequest, error: DataError) -> Response[Any]:
    """Answer 400 to a value that no column can hold: a number too large, a NUL in a text."""
    return answer_strop_error(request, unfit(error))


def answer_unreadable(request: AnyRequest, error: Exception) -> Response[Any]:
    """Answer 400 to a body that no JSON parser should be given."""
    unreadable = InvalidRequestError(f"The body is no readable JSON: {type(error).__name__}.")
    return answer_strop_error(request, unreadable)
