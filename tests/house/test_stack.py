"""What the tests' own view of a running Strop promises."""

import subprocess
import sys

from serving.settings import Settings
from tests.stack import KEEPER, Stack, wait_until

SUPERVISOR = """
import os, subprocess, sys
keeper = [sys.executable, "-I", "-S", sys.argv[1], str(os.getpid()), "1"]
subprocess.run([*keeper, sys.executable, "-c", "import time; time.sleep(100)", "gateway"])
"""


def test_who_kills_a_child_does_not_kill_its_keeper() -> None:
    """A keeper carries its child's arguments; a test that kills it would show another fault."""
    command = [sys.executable, "-c", SUPERVISOR, str(KEEPER)]
    with subprocess.Popen(command) as supervisor:
        stack = Stack(supervisor, Settings(), {})
        try:
            wait_until(lambda: stack.processes("gateway") != [], 60, "the child runs")
            (child,) = stack.processes("gateway")
            assert str(KEEPER) in child.parent().cmdline()
        finally:
            supervisor.kill()
