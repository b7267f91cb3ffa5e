"""The command as its user runs it: a process of its own for each, forked from one that has imported
everything. Imports are a command's whole cost here, and a gateway's: two seconds of a CPU.
"""

import multiprocessing
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from gateway.command.main import COMMANDS, main

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        *("__main__", "pytest", "gateway.app", "gateway.serve"),
        *(where.split(":")[0] for where, _ in COMMANDS.values()),
    ]
)


def run_command(
    words: tuple[str, ...], environment: Mapping[str, str], seconds: float = 100
) -> subprocess.CompletedProcess[str]:
    """Run `strop` with these words to its end.

    Raises:
        TimeoutError: it is not over after `seconds`; it is killed.
    """
    with TemporaryDirectory(prefix="strop-") as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        process = FORKS.Process(target=_become_command, args=(words, dict(environment), out, err))
        process.start()
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            raise TimeoutError(f"strop {' '.join(words)}: {out.read_text()}{err.read_text()}")
        code = process.exitcode
        process.close()
        return subprocess.CompletedProcess(words, code, out.read_text(), err.read_text())


def speak_into(*outputs: Path) -> None:
    """Have this process's output, and its errors, go into these files."""
    for number, path in enumerate(outputs, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), number)


def _become_command(words: tuple[str, ...], environment: dict[str, str], *outputs: Path) -> None:
    os.environ.clear()
    os.environ.update(environment)
    speak_into(*outputs)
    main(list(words))
