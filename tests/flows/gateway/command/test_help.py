"""`strop --help` as a process of its own: complete, and quick."""

import subprocess
import sys
import time

import pytest

from gateway.command.main import COMMANDS


def test_help_lists_every_command_quickly() -> None:
    """`strop --help` names all commands without importing what they need."""
    program = (
        "import sys\n"
        "from gateway.command.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print([name for name in sys.modules if name in ('sqlalchemy', 'litestar', 'rich')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert all(f"  {name} " in done.stdout for name in COMMANDS)
    assert done.stdout.endswith("[]\n")


@pytest.mark.prove
def test_help_takes_less_than_300_ms() -> None:
    """A person who asks for help is not kept waiting."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "gateway.command.main", "--help"], check=True)
    assert time.perf_counter() - started < 0.3
