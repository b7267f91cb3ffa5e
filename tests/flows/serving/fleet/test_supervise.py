"""Children are kept alive, and nothing of them is left behind. Real programs, real signals."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from serving.errors import ConfigurationError
from serving.fleet.program import ChildState, ChildStatus, Pace, Program
from serving.fleet.supervise import Supervisor

QUICK = Pace(
    poll_seconds=0.02,
    settle_seconds=0.05,
    first_pause_seconds=0.05,
    longest_pause_seconds=0.1,
)
SLEEPER = "import time; time.sleep(600)"
# A child that starts one of its own, in another session, as far from us as it can get.
FAMILY = """
import subprocess, sys, time
import pathlib
away = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
pathlib.Path(sys.argv[1]).write_text(str(away.pid))
time.sleep(600)
"""
DEAF = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(sys.argv[1]).write_text("deaf")
time.sleep(600)
"""


@pytest.fixture
async def supervisor(tmp_path: Path) -> AsyncIterator[Supervisor]:
    """A supervisor in a hurry, stopped at the end."""
    found = Supervisor(tmp_path / "logs", QUICK)
    yield found
    await found.stop()


async def test_a_killed_child_is_started_again(supervisor: Supervisor) -> None:
    """kill -9 of a child gives a new one, and the restart is counted."""
    supervisor.start(program("engine", SLEEPER))
    first = await running(supervisor)
    os.kill(pid_of(first), signal.SIGKILL)
    await until(lambda: status(supervisor).num_restarts == 1)
    second = await running(supervisor)
    assert second.pid != first.pid
    assert second.exit_status == 128 + signal.SIGKILL


async def test_nothing_is_left_of_a_killed_child(supervisor: Supervisor, tmp_path: Path) -> None:
    """What the child itself had started dies before the child is started again."""
    note = tmp_path / "grandchild"
    supervisor.start(program("engine", FAMILY, str(note)))
    child = await running(supervisor)
    await until(lambda: has_text(note))
    grandchild = int(note.read_text())
    os.kill(pid_of(child), signal.SIGKILL)
    await until(lambda: status(supervisor).exit_status is not None)
    assert not is_alive(grandchild)


async def test_nothing_is_left_when_the_keeper_is_killed(supervisor: Supervisor) -> None:
    """A child without its keeper is killed too, and both start again."""
    supervisor.start(program("engine", SLEEPER))
    first = await running(supervisor)
    keeper = psutil.Process(pid_of(first)).ppid()
    assert keeper != os.getpid()
    os.kill(keeper, signal.SIGKILL)
    await until(lambda: status(supervisor).num_restarts == 1)
    await until(lambda: not is_alive(pid_of(first)))
    await running(supervisor)


async def test_stop_leaves_nothing_behind(supervisor: Supervisor, tmp_path: Path) -> None:
    """After `stop` neither the child nor its own children live."""
    note = tmp_path / "grandchild"
    supervisor.start(program("engine", FAMILY, str(note)))
    child = await running(supervisor)
    await until(lambda: has_text(note))
    await supervisor.stop()
    assert not is_alive(pid_of(child))
    assert not is_alive(int(note.read_text()))


async def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    """SIGTERM first, SIGKILL when the time to stop is over."""
    supervisor = Supervisor(tmp_path, QUICK)
    note = tmp_path / "deaf"
    supervisor.start(program("engine", DEAF, str(note), stop_seconds=0.2))
    child = await running(supervisor)
    await until(lambda: has_text(note))
    await supervisor.stop()
    assert not is_alive(pid_of(child))


async def test_groups_stop_in_the_opposite_order(supervisor: Supervisor, tmp_path: Path) -> None:
    """What was started last, the gateway, stops first; the engines stop last."""
    note = tmp_path / "order"
    note.touch()
    says = (
        "import pathlib, signal, sys, time\n"
        "def stop(*_):\n"
        "    with pathlib.Path(sys.argv[1]).open('a') as file: file.write(sys.argv[2] + ' ')\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "pathlib.Path(sys.argv[1] + sys.argv[2]).touch()\n"
        "time.sleep(600)\n"
    )
    for name in ("engine", "gateway"):
        supervisor.start(program(name, says, str(note), name))
        await until((tmp_path / f"order{name}").exists)
    await supervisor.stop()
    assert note.read_text() == "gateway engine "


async def test_a_child_that_never_comes_up_ends_the_supervision(supervisor: Supervisor) -> None:
    """After some deaths at its first start: one clear error with the last words and the log."""
    supervisor.start(
        program("engine", "raise ValueError('No room for the KV cache')", is_ready=never)
    )
    with pytest.raises(ConfigurationError) as raised:
        await asyncio.wait_for(supervisor.watch(asyncio.Event()), 60)
    assert "engine ended 3 times before it was ready" in raised.value.message
    assert "ValueError: No room for the KV cache" in raised.value.message
    assert "engine.log" in raised.value.message


async def test_a_start_that_takes_too_long_has_failed(supervisor: Supervisor) -> None:
    """A child that hangs at its start is ended and counted as dead."""
    supervisor.start(program("engine", SLEEPER, is_ready=never, start_seconds=0.1))
    with pytest.raises(ConfigurationError, match="before it was ready"):
        await asyncio.wait_for(supervisor.watch(asyncio.Event()), 60)


async def test_a_missing_program_is_named(supervisor: Supervisor) -> None:
    """A program that is not there is an error like any other, with its name."""
    supervisor.start(Program(name="engine", argv=("/no/such/program",), env={}, is_ready=never))
    with pytest.raises(ConfigurationError, match="/no/such/program"):
        await asyncio.wait_for(supervisor.watch(asyncio.Event()), 60)


async def test_a_child_that_was_up_once_is_never_given_up(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    """The give-up rule is for first starts; later the pauses only grow."""
    broken = tmp_path / "broken"
    source = f"import pathlib, time\nif not pathlib.Path({str(broken)!r}).exists(): time.sleep(600)"
    supervisor.start(program("engine", source, is_ready=lambda: answer(not broken.exists())))
    child = await running(supervisor)
    broken.touch()
    os.kill(pid_of(child), signal.SIGKILL)
    await until(lambda: status(supervisor).num_restarts > QUICK.max_first_deaths)
    broken.unlink()
    await running(supervisor)


async def test_watch_returns_when_we_stop(supervisor: Supervisor) -> None:
    """The stop event ends the watch without an error."""
    supervisor.start(program("engine", SLEEPER))
    stopping = asyncio.Event()
    watch = asyncio.create_task(supervisor.watch(stopping))
    await running(supervisor)
    assert not watch.done()
    stopping.set()
    await asyncio.wait_for(watch, 60)


async def test_what_a_child_prints_is_kept_over_restarts(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    """One log per child; a restart appends to it."""
    supervisor.start(program("engine", "print('hello', flush=True)\n" + SLEEPER))
    log = tmp_path / "logs" / "engine.log"
    await until(lambda: log.exists() and log.read_text() == "hello\n")
    os.kill(pid_of(await running(supervisor)), signal.SIGKILL)
    await until(lambda: log.read_text() == "hello\nhello\n")


def test_nothing_is_left_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    """kill -9 of the supervising process takes child and grandchild along."""
    note = tmp_path / "grandchild"
    source = (
        "import asyncio, os, pathlib, sys\n"
        "from serving.fleet.program import Program\n"
        "from serving.fleet.supervise import Supervisor\n"
        "async def main():\n"
        "    supervisor = Supervisor(pathlib.Path(sys.argv[1]))\n"
        "    argv = (sys.executable, '-c', sys.argv[2], sys.argv[3])\n"
        "    supervisor.start(Program(name='engine', argv=argv, env=dict(os.environ)))\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    supervising = subprocess.Popen([sys.executable, "-c", source, str(tmp_path), FAMILY, str(note)])
    try:
        wait_for(lambda: has_text(note))
        family = psutil.Process(supervising.pid).children(recursive=True)
        assert len(family) == 3  # keeper, child, grandchild
    finally:
        supervising.kill()
        supervising.wait()
    wait_for(lambda: not any(is_alive(process.pid) for process in family))


def test_pauses_double_up_to_a_limit() -> None:
    """0.5 s after the first death, then twice as long each time, at most 30 s."""
    pauses = [Pace().pause_seconds(num_deaths) for num_deaths in (1, 2, 3, 7, 1000)]
    assert pauses == [0.5, 1.0, 2.0, 30.0, 30.0]


def program(
    name: str,
    source: str,
    *arguments: str,
    is_ready: Callable[[], Awaitable[bool]] | None = None,
    start_seconds: float = 60,
    stop_seconds: float = 30,
) -> Program:
    """A program that runs Python source."""
    return Program(
        name=name,
        argv=(sys.executable, "-c", source, *arguments),
        env=dict(os.environ),
        is_ready=is_ready,
        start_seconds=start_seconds,
        stop_seconds=stop_seconds,
    )


async def answer(is_so: bool) -> bool:
    """An `is_ready` that knows its answer."""
    return is_so


async def never() -> bool:
    """An `is_ready` that is never true."""
    return False


def status(supervisor: Supervisor) -> ChildStatus:
    """The status of the only child."""
    (found,) = supervisor.statuses
    return found


def pid_of(child: ChildStatus) -> int:
    """The pid of a living child."""
    assert child.pid is not None
    return child.pid


async def running(supervisor: Supervisor) -> ChildStatus:
    """Wait until the only child runs."""
    await until(
        lambda: status(supervisor).state is ChildState.RUNNING and bool(status(supervisor).pid)
    )
    return status(supervisor)


async def until(is_so: Callable[[], bool]) -> None:
    """Wait until it is so, with a wide deadline."""
    await asyncio.to_thread(wait_for, is_so)


def wait_for(is_so: Callable[[], bool]) -> None:
    """Wait until it is so, with a wide deadline."""
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline, "it never was so"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be collected by its parent does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def has_text(path: Path) -> bool:
    """Whether something was written to it."""
    return path.exists() and bool(path.read_text())
