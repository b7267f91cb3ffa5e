"""What `strop gateway` runs: uvicorn with its fast parts, one process or several."""

import asyncio
import os
import shutil
import signal
import sys
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Final, cast

import uvicorn
from litestar import Litestar
from uvicorn.supervisors import Multiprocess

from gateway.http import StrictProtocol
from gateway.logs import log_config
from serving.settings import Settings

_BACKLOG: Final = 2048


def serve(settings: Settings, url: str) -> None:
    """Serve until SIGTERM or SIGINT, then drain for `gateway.drain_seconds` at most.

    Args:
        settings: the configuration.
        url: the database, postgresql://..., which has to outlive this call.

    Raises:
        SystemExit: the port is taken, the application did not start, or SIGTERM came; whoever
            holds the database open gets to close it.
    """
    # uvicorn sends itself the signal again when it has drained; by default that would kill us.
    signal.signal(signal.SIGTERM, _leave)
    config = uvicorn_config(settings, url)
    if settings.gateway.workers == 1:
        uvicorn.Server(config).run()
        return
    share_metrics(settings.home / "metrics")
    Multiprocess(config, [config.bind_socket()]).run()


def share_metrics(folder: Path) -> None:
    """Give the workers to come one empty folder for their metrics."""
    # Imported here, like all that loads prometheus_client: it reads its environment at import.
    from monitoring.metrics import MULTIPROCESS_VARIABLE

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    os.environ[MULTIPROCESS_VARIABLE] = str(folder)


def uvicorn_config(settings: Settings, url: str) -> uvicorn.Config:
    """Return uvicorn's configuration: its httptools side (h11 lets requests be smuggled), no access log."""
    gateway = settings.gateway
    return uvicorn.Config(
        # Text, not the object: workers are spawned, and take it along pickled.
        partial(build_worker, settings.model_dump_json(), url),
        factory=True,
        host=gateway.host,
        port=gateway.port,
        workers=gateway.workers,
        loop="uvloop",
        http=http_protocol(settings),
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


def http_protocol(settings: Settings) -> type[asyncio.Protocol]:
    """Return what makes the protocol of a new connection."""
    gateway = settings.gateway
    make = partial(
        StrictProtocol, head_seconds=gateway.head_seconds, unread_seconds=gateway.idle_seconds
    )
    # uvicorn only ever calls it; it asks for a class, which could not be pickled with its limits.
    return cast(type[asyncio.Protocol], make)


def build_worker(settings: str, url: str) -> Litestar:
    """Build the application inside the process that serves it."""
    from gateway.app import create_app
    from monitoring.metrics import MULTIPROCESS_VARIABLE, forget_dead_processes

    folder = os.environ.get(MULTIPROCESS_VARIABLE)
    if folder:
        forget_dead_processes(Path(folder))
    return create_app(Settings.model_validate_json(settings), url)


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(0)
