"""What workers of one host promise of limits: exact between processes, and nothing dies with one."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Spawn = Callable[..., "Worker"]


class Worker:
    """A process that takes places of one key."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        assert self.read() == "ready"

    def tell(self, command: str) -> None:
        """Give an order, and do not wait for it."""
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def read(self) -> str:
        """Return the answer to the oldest order."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Spawn]:
    """Start workers on one file."""
    workers: list[Worker] = []

    def start(*, concurrency: int = 0, rpm: int = 0) -> Worker:
        child = Path(__file__).parent / "limits_child.py"
        process = subprocess.Popen(
            [sys.executable, str(child), str(tmp_path / "limits"), str(concurrency), str(rpm)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path.cwd(),
            env={"PYTHONPATH": str(Path.cwd())},
        )
        workers.append(Worker(process))
        return workers[-1]

    yield start
    for worker in workers:
        worker.kill()
        for stream in (worker.process.stdin, worker.process.stdout):
            assert stream is not None
            stream.close()


def take(*workers: Worker, seconds: float = 0.5) -> int:
    """Have all of them take at once whatever they get; return how much that was."""
    for worker in workers:
        worker.tell(f"take {seconds}")
    return sum(int(worker.read()) for worker in workers)


def test_places_are_exact_between_processes(spawn: Spawn) -> None:
    """Two that grab at the same time never get one too many, however often they try."""
    workers = [spawn(concurrency=100) for _ in range(2)]
    for _ in range(3):
        assert take(*workers) == 100
        for worker in workers:
            worker.tell("free")
            assert worker.read() == "free"


def test_a_killed_workers_places_are_free(spawn: Spawn) -> None:
    """SIGKILL, in the middle of grabbing: the others have all the places again, and no more."""
    killed, other = spawn(concurrency=50), spawn(concurrency=50)
    for _ in range(5):
        killed.tell("take 60")
        held = take(other, seconds=0.2)
        killed.kill()
        assert held + take(other) == 50
        other.tell("free")
        assert other.read() == "free"
        killed = spawn(concurrency=50)


def test_a_rate_is_shared_and_outlives_a_worker(spawn: Spawn) -> None:
    """What a killed worker let through stays counted: restarts are no way around a limit."""
    first, second = spawn(rpm=600), spawn(rpm=600)
    begun_at = time.monotonic()
    num_taken = take(first, second)
    first.kill()
    num_taken += take(spawn(rpm=600), second)
    num_come_back = 10 * (time.monotonic() - begun_at)
    assert 600 <= num_taken <= 600 + num_come_back + 1
