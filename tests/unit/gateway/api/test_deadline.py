"""`/api` ends in time, whatever stands still behind it."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from litestar import Litestar, get
from litestar.datastructures import State
from litestar.testing import AsyncTestClient

from gateway.api.deadline import PATIENT, Deadline, within
from gateway.errors import EXCEPTION_HANDLERS
from monitoring.metrics import Metrics
from serving.errors import UnavailableError


async def test_late_work_is_given_up_and_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    """The caller hears at once, though the work takes its time to end; the log names the call."""
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            ended.set()
            raise RuntimeError("a query that was cut")

    with pytest.raises(UnavailableError, match="stands still"):
        await within(0.01, work(), "GET /api/keys")
    assert not ended.is_set()
    await asyncio.wait_for(ended.wait(), 20)
    await asyncio.sleep(0)
    assert "GET /api/keys did not answer within 0.01 s" in caplog.text
    assert "a query that was cut" in caplog.text


async def test_what_ends_in_time_is_left_alone() -> None:
    """Its errors are its own."""

    async def work() -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await within(20, work(), "GET /api/keys")


async def test_a_handler_has_so_long_and_a_patient_one_longer() -> None:
    """503 with Retry-After in OpenAI's shape."""

    @get("/stuck")
    async def stuck() -> None:
        await asyncio.Event().wait()

    @get("/patient", opt=PATIENT)
    async def patient() -> dict[str, Any]:
        await asyncio.sleep(0.1)
        return {}

    app = Litestar(
        [stuck, patient],
        middleware=[Deadline(0.05)],
        exception_handlers=EXCEPTION_HANDLERS,
        state=State({"runtime": SimpleNamespace(metrics=Metrics())}),
    )
    async with AsyncTestClient(app) as client:
        answer = await client.get("/stuck")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
        assert answer.headers["retry-after"] == "5"
        assert (await client.get("/patient")).status_code == 200
