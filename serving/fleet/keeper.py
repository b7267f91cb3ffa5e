"""Stands between the supervisor and one child, so that nothing of the child is ever left behind.

    supervisor -> keeper -> child -> whatever the child starts (vLLM has an EngineCore)

A killed vLLM leaves its EngineCore running, with the model's memory. The keeper is told by the
kernel when the supervisor dies (PR_SET_PDEATHSIG) and inherits what the child leaves behind
(PR_SET_CHILD_SUBREAPER); it ends when the child has ended and nothing of it lives. Should the
keeper itself be killed, the kernel kills the child and the supervisor the rest of the group.

It is started by path in an isolated interpreter, so it uses the standard library only:

    python -I -S keeper.py SUPERVISOR_PID STOP_SECONDS PROGRAM [ARGUMENT ...]
"""

import ctypes
import os
import signal
import sys
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_SIGNALS = _STOP_SIGNALS | {signal.SIGCHLD}
_NOT_STARTED = 127
# A process in uninterruptible sleep (a hung disk, a GPU driver) does not die of SIGKILL.
_KILL_SECONDS = 10.0


def main() -> int:
    """Run the child until it ends or a stop signal comes; return its exit status."""
    supervisor, stop_seconds, command = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != supervisor:  # it died before the kernel knew that we care
        return _NOT_STARTED
    child = _start(command)
    status = _wait(child, stop_seconds)
    _kill_descendants()
    return status


def _start(command: list[str]) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        os.execvp(command[0], command)  # noqa: S606 - the supervisor's own argv
    except OSError as error:
        sys.stderr.write(f"{command[0]} cannot be started: {error}\n")
        sys.stderr.flush()
    os._exit(_NOT_STARTED)


def _wait(child: int, stop_seconds: float) -> int:
    """Return the child's exit status (128 + n for signal n); after a stop signal, see it out."""
    deadline = None
    while True:
        # A second at most: a stopped child's deadline is looked at between signals.
        caught = signal.sigtimedwait(_SIGNALS, 1.0)
        status = _reap().get(child)
        if status is not None:
            return status
        if caught is not None and caught.si_signo in _STOP_SIGNALS and deadline is None:
            os.kill(child, signal.SIGTERM)
            deadline = time.monotonic() + stop_seconds
        if deadline is not None and time.monotonic() > deadline:
            return 128 + signal.SIGKILL


def _reap() -> dict[int, int]:
    """Collect whoever has ended, also orphans: pid -> exit status."""
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        code = os.waitstatus_to_exitcode(status)
        ended[pid] = code if code >= 0 else 128 - code


def _kill_descendants() -> None:
    """Kill the child and all that it started, also what left its session: orphans come to us."""
    deadline = time.monotonic() + _KILL_SECONDS
    while (pids := _descendants(os.getpid())) and time.monotonic() < deadline:
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.01)
        _reap()


def _descendants(root: int) -> list[int]:
    parents = _parents()
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found - {root})


def _parents() -> dict[int, int]:
    """Return pid -> parent's pid of every process, from proc(5)."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            continue
        # "pid (name) state ppid ...", and a name may hold blanks and parentheses.
        parents[int(stat.parent.name)] = int(text.rpartition(")")[2].split()[1])
    return parents


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl failed")


if __name__ == "__main__":
    sys.exit(main())
