"""What Litestar refuses, and what only looks like a fault of ours."""

import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from litestar import Litestar, post
from litestar.datastructures import State
from litestar.params import JSONBody

from gateway.errors import EXCEPTION_HANDLERS
from monitoring.metrics import Metrics

HEADERS = [(b"host", b"a"), (b"content-type", b"application/json"), (b"content-length", b"100")]
POST: dict[str, Any] = {
    "type": "http",
    "asgi": {"version": "3.0"},
    "http_version": "1.1",
    "method": "POST",
    "scheme": "http",
    "path": "/take",
    "raw_path": b"/take",
    "root_path": "",
    "query_string": b"",
    "headers": HEADERS,
    "client": ("127.0.0.1", 1),
    "server": ("127.0.0.1", 2),
}


async def test_who_hangs_up_in_the_middle_of_an_upload_is_no_bug(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Litestar calls it an error of the server's; nobody is answered, so nothing is counted."""

    @post("/take")
    async def take(data: JSONBody[dict[str, int]]) -> None:
        """Take what is never whole."""

    metrics = Metrics()
    app = Litestar(
        [take],
        exception_handlers=EXCEPTION_HANDLERS,
        state=State({"runtime": SimpleNamespace(metrics=metrics)}),
    )
    caplog.set_level(logging.WARNING, "strop.gateway")
    await app({**POST, "app": app, "state": {}}, hang_up_in_between(), hear_nothing)
    assert not caplog.records
    assert "strop_errors_total{" not in metrics.render().decode()


def hang_up_in_between() -> Any:
    """Return a client that sends half of what it announced."""
    said: Iterator[dict[str, Any]] = iter(
        [
            {"type": "http.request", "body": b'{"a":', "more_body": True},
            {"type": "http.disconnect"},
        ]
    )

    async def receive() -> dict[str, Any]:
        return next(said)

    return receive


async def hear_nothing(message: Any) -> None:
    """Be gone."""
