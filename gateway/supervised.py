"""One of several workers, from both ends of its line: what its supervisor hears, and what it obeys."""

import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Final

from gateway.server import LeavingServer

logger = logging.getLogger("strop.gateway")

_ASK_SECONDS: Final = 1.0
_OVERTIME_SECONDS: Final = 10.0
_SPAWN: Final = get_context("spawn")


class Word(StrEnum):
    """What supervisor and worker say to each other."""

    READY = "ready"  # the worker: I take requests
    LOST = "lost"  # the worker: only another process can go on with them
    LEAVE = "leave"
    MAKE_ROOM = "make room"  # leave, another has taken your place: nobody needs notice of it
    HURRY = "hurry"
    ASK = "ask"  # the supervisor: does your event loop turn?
    HERE = "here"  # the worker's event loop: it does


Main = Callable[[socket.socket, Connection], None]
"""What a worker runs, given the port's socket and its line to the supervisor; can be pickled."""


class Worker:
    """One process, and the line to it."""

    def __init__(self, main: Main, listener: socket.socket, start_seconds: float) -> None:
        self._line, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=main, args=(listener, theirs))
        self._process.start()
        theirs.close()
        self._start_seconds = start_seconds
        self._kill_at = float("inf")
        self._is_asked = False
        self._is_lost = False
        self.is_ready = False
        self.silent_seconds = 0.0
        """Since it last said something, or was started."""

    @property
    def pid(self) -> int | None:
        """The process's id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Its status; None: it lives."""
        return self._process.exitcode

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.is_alive()

    @property
    def is_late(self) -> bool:
        """Whether it should be ready by now, and lives without being so."""
        return self.is_alive and not self.is_ready and self.silent_seconds > self._start_seconds

    def listen(self, passed: float) -> None:
        """Take note of what it said, and for how long it did not; ask it now and then.

        Args:
            passed: seconds since this was called last, as far as we have been looking: while the
                whole family is stopped, nobody is late or stuck.
        """
        self.silent_seconds += passed
        with suppress(EOFError, OSError):  # it has died, which `is_alive` says
            while self._line.poll():
                # Read first: what is not taken, the end too, is there for ever.
                said = self._line.recv()
                self.is_ready = self.is_ready or said == Word.READY
                self._is_lost = self._is_lost or said == Word.LOST
                self._is_asked = self._is_asked and said != Word.HERE
                self.silent_seconds = 0.0
        if self.is_ready and not self._is_asked and self.silent_seconds >= _ASK_SECONDS:
            # One question at a time: a worker that is stuck would have its line filled.
            self._is_asked = True
            self.tell(Word.ASK)

    def was_lost(self) -> bool:
        """Whether it has said, since this was asked last, that it cannot go on."""
        was_lost, self._is_lost = self._is_lost, False
        return was_lost

    def tell(self, word: Word) -> None:
        """Say something to it."""
        with suppress(OSError):  # it has ended already
            self._line.send(word)

    def leave(self, word: Word, seconds: float) -> None:
        """Tell it to leave; it is killed when it has not after `seconds` and some."""
        self._kill_at = time.monotonic() + seconds + _OVERTIME_SECONDS
        self.tell(word)

    def is_still_leaving(self) -> bool:
        """Whether it has not ended yet; if it should have, it is killed."""
        if self.is_alive and time.monotonic() > self._kill_at:
            logger.error("Worker %s does not end; killing it", self.pid)
            self.kill()
        return self.is_alive

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.join()


def serve_as_worker(server: LeavingServer, listener: socket.socket, line: Connection) -> None:
    """Run a worker's server, as its supervisor says; without a supervisor, leave."""
    server.on_started = partial(_say, line, Word.READY)
    server.on_lost = partial(_say, line, Word.LOST)
    threading.Thread(target=_obey, args=(server, line), daemon=True).start()
    server.run([listener])


def _say(line: Connection, word: Word) -> None:
    with suppress(OSError):  # the supervisor is gone, which `_obey` notices
        line.send(word)


def _obey(server: LeavingServer, line: Connection) -> None:
    while True:
        try:
            word = line.recv()
        except (EOFError, OSError):
            server.leave()
            return
        if word == Word.HURRY:
            server.hurry()
        elif word == Word.ASK:
            # In the loop, not here: this thread runs on while the loop stands still.
            server.call_soon(partial(_say, line, Word.HERE))
        else:
            server.leave(with_notice=word == Word.LEAVE)
