"""One timer, however often the deadline moves."""

import asyncio

import pytest

from gateway.alarm import Alarm


@pytest.fixture
def armed(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When timers were armed for."""
    found: list[float] = []
    arm = asyncio.BaseEventLoop.call_at

    def call_at(loop: asyncio.BaseEventLoop, when: float, *rest: object) -> asyncio.TimerHandle:
        found.append(when)
        return arm(loop, when, *rest)  # type: ignore[arg-type] # passed on as it came

    monkeypatch.setattr(asyncio.BaseEventLoop, "call_at", call_at)
    return found


async def rings_at(*dues: float) -> float:
    """Set these deadlines, seconds from now, one after the other; return when it rang."""
    loop = asyncio.get_running_loop()
    rang = asyncio.Event()
    alarm = Alarm(rang.set)
    start = loop.time()
    for due in dues:
        alarm.set(start + due)
    await rang.wait()
    return loop.time() - start


async def test_a_later_deadline_arms_no_timer_of_its_own(armed: list[float]) -> None:
    """A stream that moves its deadline with every piece costs two timers, not hundreds."""
    assert await rings_at(*(number / 10_000 for number in range(500))) >= 0.0498
    assert len(armed) <= 2  # one, if this machine took a break before the first was due


async def test_an_earlier_deadline_counts_at_once(armed: list[float]) -> None:
    """From the first byte's deadline to that between pieces."""
    assert 0.02 <= await rings_at(60, 0.02) < 30
    assert len(armed) == 2


async def test_closed_it_rings_no_more() -> None:
    """Nothing is left behind when the connection is gone."""
    rang = asyncio.Event()
    alarm = Alarm(rang.set)
    alarm.set(asyncio.get_running_loop().time() + 0.01)
    alarm.close()
    await asyncio.sleep(0.05)
    assert not rang.is_set()
