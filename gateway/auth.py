"""Who is calling: a bearer key, looked up by its hash in the catalogue held in memory."""

from serving.errors import AuthenticationError
from serving.routing.catalog import Catalog, Principal

_SCHEME = "bearer "


def authenticate(
    catalog: Catalog, authorization: str | None, api_key: str | None = None
) -> Principal:
    """Return whose key the `Authorization` header carries, or `x-api-key` where there is none.

    Raises:
        AuthenticationError: there is none, or none that we know.
    """
    key = api_key if authorization is None else bearer_of(authorization)
    if not key:
        raise AuthenticationError(
            "No key. Send it as `Authorization: Bearer <key>`; `strop keys create` makes one.",
            code="missing_api_key",
        )
    principal = catalog.principal_of(key)
    if principal is None:
        raise AuthenticationError("The key is unknown or was revoked.")
    return principal


def bearer_of(authorization: str | None) -> str | None:
    """Return the key in an `Authorization` header, if there is one."""
    if authorization is None or authorization[: len(_SCHEME)].lower() != _SCHEME:
        return None
    return authorization[len(_SCHEME) :].strip() or None
