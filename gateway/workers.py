"""Several gateway processes on one port: started, watched, and replaced one after the other.

uvicorn's own supervisor hears no signal while it restarts workers, and cannot tell one to hurry.
"""

import logging
import signal
import socket
import time
from types import FrameType
from typing import Final

from gateway.supervised import Main, Word, Worker
from serving.errors import ConfigurationError

logger = logging.getLogger("strop.gateway")

_LOOK_SECONDS: Final = 0.1
_PAUSE_SECONDS: Final = 1.0


class Workers:
    """Keeps `count` workers running on one socket until it is told to leave.

    SIGTERM and SIGINT: leave; once more: hurry. SIGUSR1: put a new worker in each one's place, the
    next one when the last one that left has answered all it had. So it goes with workers that say
    that they are lost: they stay, and refuse what they cannot do, until their successors are ready.
    """

    def __init__(
        self,
        main: Main,
        listener: socket.socket,
        count: int,
        *,
        leave_seconds: float,
        patience_seconds: float,
        start_seconds: float = 120.0,
    ) -> None:
        """Prepare.

        Args:
            main: what a worker runs.
            listener: the port's socket.
            count: how many workers there are.
            leave_seconds: what a worker may take to leave before it is killed.
            patience_seconds: a worker in service whose event loop stands still for longer is
                killed, and another one put in its place.
            start_seconds: so is one that is not in service so long after its start.
        """
        self._main = main
        self._listener = listener
        self._count = count
        self._leave_seconds = leave_seconds
        self._patience_seconds = patience_seconds
        self._start_seconds = start_seconds
        self._workers: list[Worker] = []
        self._leaving: list[Worker] = []
        self._to_replace: list[Worker] = []
        self._fresh: Worker | None = None
        self._num_stops = 0
        self._is_restart_wanted = False

    def run(self) -> None:
        """Keep watch, then see all of them off.

        Raises:
            ConfigurationError: a worker ended before any was ready.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note_stop)
        signal.signal(signal.SIGUSR1, self._note_restart)
        self._workers = [self._start() for _ in range(self._count)]
        try:
            while not self._num_stops:
                self._look()
                time.sleep(_LOOK_SECONDS)
        finally:
            self._see_off()

    def _look(self) -> None:
        if self._is_restart_wanted:
            self._is_restart_wanted = False
            self._to_replace = list(self._workers)
            logger.info("Replacing %d workers", self._count)
        for worker in self._workers:
            worker.listen(_LOOK_SECONDS)
            if worker.was_lost() and worker not in self._to_replace:
                logger.error("Worker %s cannot go on; it is replaced", worker.pid)
                self._to_replace.append(worker)
        self._end_stuck()
        self._revive()
        self._replace_next()
        self._leaving = [worker for worker in self._leaving if worker.is_still_leaving()]

    def _end_stuck(self) -> None:
        """Kill workers that take connections and answer nobody, and those that never get so far."""
        for worker in self._workers:
            if worker.is_late:
                logger.error(
                    "Worker %s was not ready in %g s; killing it", worker.pid, self._start_seconds
                )
                worker.kill()
            elif worker.is_ready and worker.silent_seconds > self._patience_seconds:
                logger.error(
                    "Worker %s has not moved for %g s; killing it",
                    worker.pid,
                    self._patience_seconds,
                )
                worker.kill()

    def _revive(self) -> None:
        """Start a worker in the place of each that died."""
        for place, worker in enumerate(self._workers):
            if worker.is_alive:
                continue
            if not any(other.is_ready for other in self._workers):
                raise ConfigurationError(
                    "A gateway worker ended before it was ready; its log says why."
                )
            logger.error("Worker %s died (%s); starting another", worker.pid, worker.exit_code)
            time.sleep(_PAUSE_SECONDS)
            self._workers[place] = self._start()

    def _replace_next(self) -> None:
        """Go one step further with a rolling restart."""
        if self._fresh is not None:
            self._settle(self._fresh)
        elif self._to_replace and not self._leaving:
            if self._to_replace[0] in self._workers:
                self._fresh = self._start()
            else:  # it died, and its successor is new anyway
                self._to_replace.pop(0)

    def _settle(self, fresh: Worker) -> None:
        """Give a new worker the place of an old one as soon as it is ready."""
        fresh.listen(_LOOK_SECONDS)
        old = self._to_replace[0]
        if fresh.is_ready and old in self._workers:
            self._workers[self._workers.index(old)] = fresh
            old.leave(Word.MAKE_ROOM, self._leave_seconds)
            self._leaving.append(old)
            self._to_replace.pop(0)
        elif fresh.is_ready:  # the old one has died, and its successor is new anyway
            fresh.leave(Word.MAKE_ROOM, self._leave_seconds)
            self._leaving.append(fresh)
            self._to_replace.pop(0)
        elif fresh.is_alive and not fresh.is_late:
            return
        else:
            logger.error("The new worker %s did not start: the others stay", fresh.pid)
            fresh.kill()
            self._to_replace.clear()
        self._fresh = None

    def _see_off(self) -> None:
        left = [*self._workers, *self._leaving, *([self._fresh] if self._fresh else [])]
        for worker in left:
            worker.leave(Word.LEAVE, self._leave_seconds)
        is_hurried = False
        while left := [worker for worker in left if worker.is_still_leaving()]:
            if self._num_stops > 1 and not is_hurried:
                is_hurried = True
                for worker in left:
                    worker.tell(Word.HURRY)
            time.sleep(_LOOK_SECONDS)

    def _start(self) -> Worker:
        return Worker(self._main, self._listener, self._start_seconds)

    def _note_stop(self, number: int, frame: FrameType | None) -> None:
        self._num_stops += 1

    def _note_restart(self, number: int, frame: FrameType | None) -> None:
        self._is_restart_wanted = True
