"""A gateway worker's side of shared limits, as a process of its own: takes what it is told to.

Commands on stdin, one answer each on stdout: `take SECONDS` (tries until then, says how many places
it got), `free` (gives all of them back). It ends with its stdin.
"""

import sys
import time
from pathlib import Path

from gateway.quota.admission import Admission, Quotas
from gateway.quota.table import SharedTable
from serving.errors import RateLimitError
from serving.routing.catalog import MonthlyUsage, Principal, Quota
from serving.types import Role


def main() -> None:
    """Obey until stdin ends."""
    path, concurrency, rpm = sys.argv[1:4]
    quota = Quota(concurrency=int(concurrency) or None, rpm=int(rpm) or None, tpm=10**9)
    principal = Principal(key_id="key_a", tenant="acme", role=Role.APP, quota=quota)
    quotas = Quotas(SharedTable(Path(path)))
    held: list[Admission] = []
    _say("ready")
    for line in sys.stdin:
        command, _, number = line.strip().partition(" ")
        if command == "take":
            num_before = len(held)
            _take(quotas, principal, held, until=time.monotonic() + float(number))
            _say(len(held) - num_before)
        else:
            while held:
                held.pop().__exit__(None, None, None)
            _say("free")


def _take(quotas: Quotas, principal: Principal, held: list[Admission], *, until: float) -> None:
    while time.monotonic() < until:
        admission = Admission(quotas, principal, MonthlyUsage(), bytearray())
        try:
            admission.__enter__()
            admission.reserve(None, 10)
        except RateLimitError:
            continue
        held.append(admission)


def _say(word: object) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
