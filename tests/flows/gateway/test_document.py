"""The OpenAPI document against the running gateway: schemathesis reads the one and asks the other."""

import asyncio
import json
from collections import Counter
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as examples_of
from hypothesis import strategies as st
from litestar.routes import HTTPRoute
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from gateway.app import create_app
from gateway.dialects.served import ENDPOINTS
from gateway.http.routes import Routes
from serving.settings import Settings
from serving.store.database import Database
from serving.types import Role
from tests.document import allowed_bodies, document
from tests.gateway import Gateway, make_key, until
from tests.scale import examples
from tests.upstream_server import FakeEngine

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def cases() -> st.SearchStrategy[schemathesis.Case]:
    """Draw requests for every operation, such as it describes and such as it excludes."""
    operations = [
        found.ok() for found in schemathesis.openapi.from_dict(document()).get_all_operations()
    ]
    drawn = [operation.as_strategy(GenerationMode.POSITIVE) for operation in operations]
    drawn += [
        operation.as_strategy(GenerationMode.NEGATIVE)
        for operation in operations
        if operation.body or operation.query or operation.path_parameters
    ]
    return st.sampled_from(drawn).flatmap(lambda strategy: strategy)


def test_every_method_of_every_route_is_documented(settings: Settings) -> None:
    """What a route answers and the document does not name would never be tried."""
    app = create_app(settings, "postgresql://nowhere", Routes())
    served = {
        (method.lower(), route.path_format)
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        if handler.resolve_include_in_schema()
        for method in handler.http_methods
    }
    paths = document()["paths"]
    documented = {(method, path) for path, methods in paths.items() for method in methods}
    assert served <= documented
    assert all(path.startswith("/v1/") for _, path in documented - served)


def test_whatever_has_a_rate_documents_429() -> None:
    """Every endpoint of apps: by the key's quota, or, for ratings without one, by the address."""
    posts = {
        path: methods["post"]["responses"]
        for path, methods in document()["paths"].items()
        if path.startswith("/v1/") and "post" in methods
    }
    assert "/v1/feedback" in posts
    assert [path for path, responses in posts.items() if "429" not in responses] == []


@pytest.fixture
async def as_admin(gateway: Gateway, database: Database) -> dict[str, str]:
    """Headers of somebody who may everything."""
    key = await make_key(database, role=Role.ADMIN)
    await until(lambda: gateway.runtime.catalog.principal_of(key) is not None)
    return {"Authorization": f"Bearer {key}"}


@pytest.mark.timeout(3600)
@examples_of(
    max_examples=examples(60, full=3_000),
    suppress_health_check=list(HealthCheck),
)
@given(st.deferred(cases))
async def test_no_request_that_the_document_allows_or_excludes_is_a_fault_of_ours(
    gateway: Gateway, as_admin: dict[str, str], case: schemathesis.Case
) -> None:
    """Every answer is below 500, and of a status, a type and a form that are documented."""
    response = await asyncio.to_thread(case.call, base_url=gateway.url, headers=as_admin)
    case.validate_response(response, checks=CHECKS)


async def test_most_of_what_the_document_allows_is_answered(
    gateway: Gateway, engine: FakeEngine
) -> None:
    """At every endpoint of models: or the document would keep its readers from the engine."""
    # Before anything is sent, and beside the gateway's loop: no connection is to grow old by it.
    drawn = await asyncio.to_thread(bodies, examples(6, full=30))
    for path, found in drawn.items():
        engine.calls.clear()
        answers = [await gateway.post(path, json.dumps(body).encode()) for body in found]
        statuses = Counter(answer.status for answer in answers)
        assert max(statuses) < 500
        assert len(engine.calls) >= statuses[200] >= statuses.total() / 2, path


def bodies(count: int) -> dict[str, list[dict[str, Any]]]:
    """Return so many for each endpoint, of the model that is there, the same every time."""
    return {endpoint.path: bodies_for(endpoint.path, count) for endpoint in ENDPOINTS}


def bodies_for(path: str, count: int) -> list[dict[str, Any]]:
    """Return what may be posted to a path, as clients write it."""
    found = []

    @examples_of(max_examples=count, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(allowed_bodies(path))
    def keep(body: dict[str, Any]) -> None:
        found.append(as_written(body) | {"model": "base"})

    keep()
    return found


def as_written(value: Any) -> Any:
    """Return JSON as clients write it: `5.0` is a whole number to JSON Schema only."""
    if isinstance(value, dict):
        return {name: as_written(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [as_written(inner) for inner in value]
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
    return int(value) if is_whole else value
