"""What `strop gateway` runs: uvicorn with its fast parts, one process or several."""

import asyncio
import logging
import signal
import socket
import sys
from functools import partial
from multiprocessing.connection import Connection
from types import FrameType
from typing import Final, cast

import uvicorn
from litestar import Litestar

from gateway.http.protocol import StrictProtocol
from gateway.http.routes import Routes
from gateway.logs import log_config
from gateway.server import Fitness, LeavingServer
from gateway.shared_metrics import shared_metrics
from gateway.supervised import serve_as_worker
from gateway.workers import Workers
from serving.settings import Settings

logger = logging.getLogger("strop.gateway")

_BACKLOG: Final = 2048


def serve(settings: Settings, url: str) -> None:
    """Serve until SIGTERM or SIGINT, then drain for `gateway.drain_seconds`, or the next signal.

    SIGUSR1 puts a new worker in the place of each, one after the other, if there are several.

    Args:
        settings: the configuration.
        url: the database, postgresql://..., which has to outlive this call.

    Raises:
        SystemExit: the port is taken, the application did not start or cannot go on, or SIGTERM
            came; whoever holds the database open gets to close it.
        ConfigurationError: no worker came up.
    """
    fitness = Fitness()
    config = uvicorn_config(settings, url, fitness)
    gateway = settings.gateway
    if gateway.workers == 1:
        # uvicorn sends itself the signal again when it has drained; by default that would kill us.
        signal.signal(signal.SIGTERM, _leave)
        signal.signal(signal.SIGUSR1, _stay)
        LeavingServer(
            config,
            notice_seconds=gateway.notice_seconds,
            patience_seconds=gateway.patience_seconds,
            fitness=fitness,
        ).run()
        return
    main = partial(_run_worker, settings.model_dump_json(), url)
    listener = config.bind_socket()
    with shared_metrics(settings.home):
        Workers(
            main,
            listener,
            gateway.workers,
            leave_seconds=gateway.notice_seconds + gateway.drain_seconds,
            patience_seconds=gateway.patience_seconds,
        ).run()


def _run_worker(settings: str, url: str, listener: socket.socket, line: Connection) -> None:
    """Run one of several: a process of its own. Settings as text: they cannot be pickled."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a closed terminal; the supervisor hears it, too
    known = Settings.model_validate_json(settings)
    fitness = Fitness()
    server = LeavingServer(
        uvicorn_config(known, url, fitness),
        notice_seconds=known.gateway.notice_seconds,
        is_alone=False,
        fitness=fitness,
    )
    serve_as_worker(server, listener, line)


def uvicorn_config(settings: Settings, url: str, fitness: Fitness) -> uvicorn.Config:
    """Return uvicorn's configuration: its httptools side (h11 lets requests be smuggled), no access log."""
    gateway, routes = settings.gateway, Routes()
    return uvicorn.Config(
        partial(build_worker, settings, url, routes, fitness),
        factory=True,
        host=gateway.host,
        port=gateway.port,
        workers=gateway.workers,
        loop="uvloop",
        http=http_protocol(settings, routes),
        ws="none",
        lifespan="on",
        interface="asgi3",
        log_config=log_config(),
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=round(gateway.drain_seconds),
    )


def http_protocol(settings: Settings, routes: Routes) -> type[asyncio.Protocol]:
    """Return what makes the protocol of a new connection."""
    gateway = settings.gateway
    make = partial(
        StrictProtocol,
        routes=routes,
        head_seconds=gateway.head_seconds,
        unread_seconds=gateway.idle_seconds,
    )
    # uvicorn only ever calls it; it asks for a class, which would not know its limits.
    return cast(type[asyncio.Protocol], make)


def build_worker(settings: Settings, url: str, routes: Routes, fitness: Fitness) -> Litestar:
    """Build the application inside the process that serves it."""
    from gateway.app import create_app

    app = create_app(settings, url, routes)
    fitness.is_lost = lambda: bool(app.state.runtime.journal.has_failed)
    return app


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(0)


def _stay(number: int, frame: FrameType | None) -> None:
    logger.warning("One worker is not replaced: there is no other to answer meanwhile")
