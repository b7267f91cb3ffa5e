"""A benchmark of somebody else's, run as it is: a program with the options of `peers.py run`.

It does not tell how many requests it sends. So what it finds as `wrk` is a script that has wrk do the
work, passes on what wrk prints, and keeps it, too.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench.rows import Tally, count_rows
from tests.bench.stand import standing

OWN_PORT = 9001
"""Where `peers.py` has its upstream."""
_WRK = """#!/bin/sh
printed=$({wrk} "$@") || exit
printf '%s\\n%s\\n' "$*" "$printed" >> {kept}
printf '%s\\n' "$printed"
"""
_CALL = re.compile(
    r"-c(\d+) .*? (http\S+)\n.*?(\d+) requests in .*?^RESULT [^\n]* (\d+)$",
    re.MULTILINE | re.DOTALL,
)


def run_as_is(options: argparse.Namespace) -> dict[str, Any]:
    """Have it measure a Strop of its own; return the table that it prints, and the rows' counts."""
    with (
        tempfile.TemporaryDirectory(prefix="strop-bench-") as folder,
        standing(f"http://127.0.0.1:{OWN_PORT}") as stand,
    ):
        kept = put_wrk(Path(folder))
        with stand.starting() as ours:
            command = [sys.executable, options.as_is, "run", options.peers, "--ours", ours.url]
            command += ["--key", stand.key, "--model", ours.model]
            done = subprocess.run(
                [*command, "--seconds", str(options.seconds)],
                env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"},
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
        tally = read_calls(kept.read_text(), ours.url)
        return {"table": done.stdout.splitlines(), **count_rows(stand, tally)}


def put_wrk(folder: Path) -> Path:
    """Put the script into a folder; return the file in which it keeps what was printed."""
    script, kept = folder / "wrk", folder / "kept"
    script.write_text(_WRK.format(wrk=shutil.which("wrk"), kept=kept))
    script.chmod(0o700)
    return kept


def read_calls(text: str, url: str) -> Tally:
    """Return what wrk counted of a target in all its calls, by what the script has kept.

    Raises:
        ValueError: it was not called for that target, or printed no result.
    """
    tally = Tally(num_connections=1)  # one request looks whether it answers, before the first call
    calls = [found.groups() for found in _CALL.finditer(text) if found[2].startswith(url)]
    if not calls:
        raise ValueError(f"wrk printed no result for {url}: {text[-300:]}")
    for connections, _, num_requests, num_failed in calls:
        tally.add(int(num_requests) - int(num_failed), int(num_failed), int(connections))
    return tally
