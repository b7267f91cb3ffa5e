"""Who may use `/api`: bearer keys of operators, looked up in memory like those of `/v1`."""

from typing import Annotated, Any, Final

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers import BaseRouteHandler
from litestar.params import FromQuery, Parameter

from gateway.api.deadline import expect_database, name_of
from gateway.auth import authenticate
from gateway.operations.resources import Resources
from gateway.runtime import Runtime
from serving.errors import PermissionDeniedError
from serving.routing.catalog import Principal
from serving.store.paging import Page
from serving.types import Role

Limit = Annotated[int, Parameter(ge=1, le=1000, description="How many rows at most.")]
USUAL_ROWS: Final = 100

Connection = ASGIConnection[Any, object, object, State]


def require_operator(connection: Connection, _: BaseRouteHandler) -> None:
    """Let `ops` and `admin` keys pass. An operator works for the house: any tenant's nouns.

    Raises:
        AuthenticationError: no key, or an unknown one.
        PermissionDeniedError: another role.
    """
    _require(connection, Role.OPS, Role.ADMIN)


def require_reviewer(connection: Connection, _: BaseRouteHandler) -> None:
    """Let `reviewer`, `ops` and `admin` keys pass.

    Raises:
        AuthenticationError: no key, or an unknown one.
        PermissionDeniedError: another role.
    """
    _require(connection, Role.REVIEWER, Role.OPS, Role.ADMIN)


def require_admin(connection: Connection, _: BaseRouteHandler) -> None:
    """Let `admin` keys pass: whoever makes keys can make any.

    Raises:
        AuthenticationError: no key, or an unknown one.
        PermissionDeniedError: another role.
    """
    _require(connection, Role.ADMIN)


async def provide_principal(request: Request[object, object, State]) -> Principal:
    """Return who is calling; the guards have let them pass."""
    return _principal(request)


async def provide_resources(request: Request[object, object, State]) -> Resources:
    """Return what the gateway worker has opened.

    Raises:
        UnavailableError: the database does not answer.
    """
    resources: Resources = request.app.state.resources
    await expect_database(resources.database, name_of(request))
    return resources


async def provide_page(
    limit: FromQuery[Limit] = USUAL_ROWS, cursor: FromQuery[str | None] = None
) -> Page:
    """Return which rows of a list are wanted. A worker's event loop makes no list of any length."""
    return Page(limit, cursor)


def _require(connection: Connection, *roles: Role) -> None:
    principal = _principal(connection)
    if principal.role not in roles:
        wanted = " or ".join(roles)
        raise PermissionDeniedError(
            f"This needs a key of role {wanted}; yours has {principal.role}."
        )


def _principal(connection: Connection) -> Principal:
    runtime: Runtime = connection.app.state.runtime
    return authenticate(runtime.catalog, connection.headers.get("authorization"))
