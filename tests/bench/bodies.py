"""What the worst bodies cost: `python -m tests.bench.bodies`.

Bodies of one length and many shapes, from one long text to nothing but empty arrays, are sent one
after the other to one gateway, in front of an upstream that answers at once: how long a megabyte
takes until it is answered or refused, and how much CPU of the gateway. Nobody else is answered in
nearly all of that.

Strop's rows are counted afterwards (`rows.py`); where they do not fit, or an answer is 5xx, this
ends with 1. Needs nginx (apt-get install nginx).
"""

import argparse
import http.client
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final

from gateway.command.progress import live_line
from gateway.policy.conversation import MAX_MESSAGES, MAX_PARTS
from gateway.policy.sampling import MAX_TOKENS
from tests.bench.peers import PATH, Target
from tests.bench.report import finish, load_now, make_parser, table
from tests.bench.rows import Tally, count_rows, describe_rows
from tests.bench.stand import ALIAS, standing
from tests.bench.wrk import instant_upstream

_COMPLETIONS: Final = "/v1/completions"
_PATIENCE_SECONDS: Final = 60
_PARTS_OF_ONE: Final = 256
"""That a message may have."""
_TEXT: Final = b"Order 12 was due on Monday. "


def many(item: bytes, number: int) -> bytes:
    """Return an item again and again, with commas between."""
    return b",".join([item] * number)


def filled(item: bytes, num_bytes: int) -> bytes:
    """Return as many items as there is room for."""
    return many(item, num_bytes // (len(item) + 1))


def text(num_bytes: int) -> bytes:
    """Return so long a text."""
    return (_TEXT * (num_bytes // len(_TEXT) + 1))[:num_bytes]


def message(content: bytes) -> bytes:
    """Return a message of a user with this text."""
    return b'{"role":"user","content":"%b"}' % content


def parts(num_bytes: int) -> bytes:
    """Return messages of as many parts as may be."""
    part = b'{"type":"text","text":"%b"}' % text(num_bytes // MAX_PARTS)
    turn = b'{"role":"user","content":[%b]}' % many(part, _PARTS_OF_ONE)
    return many(turn, MAX_PARTS // _PARTS_OF_ONE)


# What stands in a chat's `messages`.
_MESSAGES: Final[dict[str, Callable[[int], bytes]]] = {
    "one long text": lambda size: message(text(size)),
    "a text of escapes": lambda size: message(rb"\u00e4" * (size // 6)),
    f"{MAX_MESSAGES:,} messages": lambda size: many(
        message(text(size // MAX_MESSAGES)), MAX_MESSAGES
    ),
    f"{MAX_PARTS:,} parts": parts,
    "many small messages": lambda size: filled(message(b"a"), size),
    "many empty arrays": lambda size: filled(b"[]", size),
    "many empty objects": lambda size: filled(b"{}", size),
    "arrays 100 deep": lambda size: filled(b"[" * 100 + b"]" * 100, size),
    "objects 100 deep": lambda size: filled(b'{"a":' * 100 + b"1" + b"}" * 100, size),
}

# The others are refused; to refuse them is what they cost.
_TAKEN: Final = frozenset(
    {
        "one long text",
        "a text of escapes",
        f"{MAX_MESSAGES:,} messages",
        f"{MAX_PARTS:,} parts",
        "token ids",
    }
)


def shapes(num_bytes: int) -> dict[str, tuple[str, bytes]]:
    """Return path and body by what they are, each about so long."""
    head = b'{"model":"%b",' % ALIAS.encode()
    fields = b",".join(b'"f%d":1' % number for number in range(num_bytes // 11))
    tokens = many(b"1", min(MAX_TOKENS, num_bytes // 2))
    return {
        **{
            name: (PATH, b'%b"messages":[%b]}' % (head, make(num_bytes)))
            for name, make in _MESSAGES.items()
        },
        "many fields": (PATH, b"%b%b}" % (head, fields)),
        "token ids": (_COMPLETIONS, b'%b"prompt":[%b]}' % (head, tokens)),
        "never closed": (PATH, b"[" * num_bytes),
    }


def main() -> int:
    """Measure, print."""
    parser = make_parser(__doc__)
    parser.add_argument("--megabytes", type=float, default=2, help="of each body, about")
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    with live_line() as tell:
        figures = measure(options, tell)
    return finish("bodies", figures, describe(figures), options)


def measure(options: argparse.Namespace, tell: Callable[[str], None]) -> dict[str, Any]:
    """Return all figures."""
    load, tally = load_now(), Tally()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="strop-bench-")))
        direct = stack.enter_context(instant_upstream(folder))
        stand = stack.enter_context(standing(direct.url))
        found = {}
        with stand.gateway() as ours:
            for name, (path, body) in shapes(round(options.megabytes * 1e6)).items():
                tell(f"{options.rounds} times {name}")
                found[name] = cost_of(ours, path, body, options.rounds)
                is_right = (found[name]["status"] == 200) == (name in _TAKEN)
                tally.add(options.rounds * (name in _TAKEN), not is_right, 0)
        counted = count_rows(stand, tally)
    return {"load_before": load, "bodies": found, **counted}


def cost_of(target: Target, path: str, body: bytes, num_rounds: int) -> dict[str, float]:
    """Send a body again and again; return its highest status and what a megabyte of it takes."""
    megabytes, seconds, status = len(body) / 1e6, [], 0
    cpu = target.cpu_seconds
    for _ in range(num_rounds):
        began_at = time.perf_counter()
        status = max(status, send(target, path, body))
        seconds.append(time.perf_counter() - began_at)
    cpu = target.cpu_seconds - cpu
    return {
        "megabytes": round(megabytes, 2),
        "status": status,
        "ms_per_mb": round(statistics.median(seconds) * 1000 / megabytes, 1),
        "cpu_ms_per_mb": round(cpu * 1000 / num_rounds / megabytes, 1),
    }


def send(target: Target, path: str, body: bytes) -> int:
    """Send a request on a connection of its own; return the status when the answer is here."""
    host = target.url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=_PATIENCE_SECONDS)
    with closing(connection):
        headers = {"Content-Type": "application/json", **target.headers}
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status


def describe(figures: dict[str, Any]) -> str:
    """Return the figures as a table, and what the dearest shape is."""
    found = figures["bodies"]
    names = ("megabytes", "status", "ms_per_mb", "cpu_ms_per_mb")
    rows = [[shape, *(cost[name] for name in names)] for shape, cost in found.items()]
    dearest = max(found, key=lambda shape: found[shape]["ms_per_mb"])
    return (
        f"{table(['body', 'MB', 'status', 'ms a MB', 'CPU ms a MB'], rows)}\n\n"
        f"The dearest: {dearest}, {found[dearest]['ms_per_mb']} ms a MB.\n"
        f"{describe_rows(figures)}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
