"""One gateway process: uvicorn's server, leaving in steps.

readiness off ──notice_seconds──► no new connections ──drain_seconds──► error event to what is left
                                                     ──a second signal──►
"""

import asyncio
import faulthandler
import gc
import logging
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Final, NoReturn

import uvicorn

logger = logging.getLogger("strop.gateway")

LEAVING: Final = "is_leaving"
"""Key of a request's state that says that this process is about to end."""

_LOOK_SECONDS: Final = 0.05
_GARBAGE_AT: Final = 10_000
"""Objects made and not freed; Python itself would look after 700."""
_TURN_SECONDS: Final = 1.0
_SHORTEST_LIFE_SECONDS: Final = 30.0
"""What one that is lost lives at least: what fails each time is not started over and over. So long,
too, it is before a successor is asked for once more."""


class Fitness:
    """Whether what a server runs can go on, which the application knows and the server asks."""

    def __init__(self) -> None:
        self.is_lost: Callable[[], bool] = _is_never_lost
        """Whether only another process can; asked from the application's start on."""


class LeavingServer(uvicorn.Server):
    """Serves until it is told to leave, and hurries when it is told again.

    Args:
        config: uvicorn's configuration.
        notice_seconds: for how long, not ready any more, it serves as before: load balancers look
            at readiness now and then.
        is_alone: whether signals mean this process. Of a supervised one they may mean the whole
            group, and its supervisor says what is wanted.
        patience_seconds: in service, the process ends with status 1 when its event loop has stood
            still for so long, and leaves every thread's stack on stderr; None: it does not.
        fitness: once it is lost, the process leaves, and ends with status 1; one with a supervisor
            has it told, and serves on as far as it can.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        notice_seconds: float,
        is_alone: bool = True,
        patience_seconds: float | None = None,
        fitness: Fitness | None = None,
    ) -> None:
        super().__init__(config)
        self._fitness = fitness or Fitness()
        self._is_lost = False
        self._rests_until = time.monotonic() + _SHORTEST_LIFE_SECONDS
        self._notice_seconds = notice_seconds
        self._is_alone = is_alone
        self._patience_seconds = patience_seconds
        self._turning: asyncio.Task[NoReturn] | None = None
        self._is_hurried = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self.on_started: Callable[[], None] | None = None
        """Called before the first request is answered."""
        self.on_lost: Callable[[], None] | None = None
        """Called in place of leaving."""

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until it is over.

        Raises:
            SystemExit: the application did not start, or cannot go on.
        """
        super().run(sockets)
        if self._is_lost:
            sys.exit(1)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does, and say so."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        # What is there now stays. Looking through it for garbage would stop all requests for 0.2 s.
        gc.collect()
        gc.freeze()
        # Hardly anything here is a ring of references: looking for some takes longer than they do.
        gc.set_threshold(_GARBAGE_AT)
        if self.started and self._patience_seconds is not None:
            self._turning = asyncio.create_task(_keep_turning(self._patience_seconds))
        if self.started and self.on_started is not None:
            self.on_started()

    async def on_tick(self, counter: int) -> bool:
        """Leave if nothing else is left to do. The name is uvicorn's, which asks ten times a second."""
        now = time.monotonic()
        if not self.should_exit and self._fitness.is_lost() and now >= self._rests_until:
            self._rests_until = now + _SHORTEST_LIFE_SECONDS
            self._give_up()
        return await super().on_tick(counter)

    def _give_up(self) -> None:
        if self.on_lost is not None:
            self.on_lost()
            return
        logger.error("This process cannot go on; it leaves for another one to take its place")
        self._is_lost = True
        self.leave()

    def call_soon(self, act: Callable[[], None]) -> None:
        """Have the event loop do something, from any thread; nothing once it has ended."""
        if self._loop is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(act)

    def leave(self, *, with_notice: bool = True) -> None:
        """Begin to leave, if that has not begun."""
        if not with_notice:
            self._notice_seconds = 0
        self.should_exit = True

    def hurry(self) -> None:
        """Leave as if all time for it were over."""
        self._is_hurried = True
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Leave on the first signal, hurry on the second."""
        if self._is_alone:
            if self._captured_signals:
                self.hurry()
            self._captured_signals.append(sig)
        self.leave()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Leave, in steps."""
        self.lifespan.state[LEAVING] = True
        await self._pause(self._notice_seconds)
        await super().shutdown(sockets)

    async def _wait_tasks_to_complete(self) -> None:
        """Drain. The name is uvicorn's, and so is that TimeoutError has what is left cancelled."""
        draining = asyncio.create_task(super()._wait_tasks_to_complete())
        try:
            while not draining.done():
                if self._is_hurried:
                    raise TimeoutError
                await asyncio.wait({draining}, timeout=_LOOK_SECONDS)
            await draining
        finally:
            draining.cancel()

    async def _pause(self, seconds: float) -> None:
        # A signal's handler cannot wake a task, so it is looked for.
        loop = asyncio.get_running_loop()
        over_at = loop.time() + seconds
        while loop.time() < over_at and not self._is_hurried:  # noqa: ASYNC110 - see above
            await asyncio.sleep(_LOOK_SECONDS)


def _is_never_lost() -> bool:
    return False


async def _keep_turning(patience_seconds: float) -> NoReturn:
    """End this process when this does not get its turn: by a timer in C, which needs no lock of ours."""
    try:
        while True:
            faulthandler.dump_traceback_later(patience_seconds + _TURN_SECONDS, exit=True)
            await asyncio.sleep(_TURN_SECONDS)
    finally:
        faulthandler.cancel_dump_traceback_later()
