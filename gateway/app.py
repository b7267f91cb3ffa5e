"""The application: built from settings, nothing at import."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from litestar import Litestar
from litestar.types import ControllerRouterHandler

from gateway.api.routes import api_handlers
from gateway.errors import EXCEPTION_HANDLERS
from gateway.front_page import front_page_handlers
from gateway.http.headers import SECURITY_HEADERS
from gateway.http.routes import Routes
from gateway.openapi import describe_errors, describe_raw_routes, openapi_config
from gateway.operations.resources import Resources
from gateway.runtime import open_runtime
from gateway.surface import add_routes, handlers
from serving.settings import Settings


def create_app(settings: Settings, url: str, routes: Routes) -> Litestar:
    """Return a gateway worker's application.

    Its state holds `runtime` (the request path's parts), `resources` (what operations need) and
    `follower` (whose `catalog` is the newest).

    Args:
        settings: the configuration.
        url: the database, postgresql://...
        routes: told what the data path answers, once it can.
    """

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        async with open_runtime(settings, url) as runtime:
            app.state.runtime = runtime
            app.state.follower = runtime.follower
            app.state.resources = Resources(runtime.database, settings, runtime.engines)
            add_routes(routes, runtime)
            yield

    known: list[ControllerRouterHandler] = [*handlers(), *api_handlers(), *front_page_handlers()]
    app = Litestar(
        route_handlers=known,
        lifespan=[lifespan],
        exception_handlers=EXCEPTION_HANDLERS,
        openapi_config=openapi_config(),
        response_headers=SECURITY_HEADERS,
        request_max_body_size=settings.gateway.max_body_bytes,
        # Ours are set up by serve.py; Litestar's would log every exception a second time.
        logging_config=None,
        debug=False,
    )
    describe_raw_routes(app)
    describe_errors(app)
    return app
