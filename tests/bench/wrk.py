"""Load without pause by wrk, and the upstream that answers at once: nginx with a fixed completion."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.bench.peers import NGINX_COMMAND, NGINX_CONF, PATH, Target, fill, running_program
from tests.ports import free_port
from tests.stack import wait_until

_MODEL = {"id": "base", "object": "model", "created": 1, "owned_by": "vllm", "root": "base"}
_ANSWER = {
    "id": "chatcmpl-$request_id",
    "object": "chat.completion",
    "created": 1700000000,
    "model": "base",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "logprobs": None,
            "message": {
                "role": "assistant",
                "content": "Hello there, this is a static answer of a usual length for a benchmark.",
            },
        }
    ],
    "usage": {"prompt_tokens": 12, "completion_tokens": 16, "total_tokens": 28},
}
_SERVER = """server { listen 127.0.0.1:{port};
    location = /health { return 200 'ok'; }
    location = /metrics { return 200 '# none'; }
    location = /v1/models { return 200 '{models}'; }
    location /v1/ { return 200 '{answer}'; } }"""

_LUA = """wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
{headers}
wrk.body = [[{body}]]
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format("RESULT %d %.6f %.3f %.3f %d\\n", summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    errors.status + errors.connect + errors.read + errors.write + errors.timeout))
end
"""


class Load(NamedTuple):
    """What a stretch of load came to."""

    num_answered: int
    seconds: float
    p50_ms: float
    p99_ms: float
    num_failed: int

    @property
    def figures(self) -> dict[str, float]:
        """What is told of it."""
        return {
            "per_second": self.num_answered / self.seconds,
            "p50_ms": self.p50_ms,
            "p99_ms": self.p99_ms,
        }


@contextmanager
def instant_upstream(folder: Path) -> Iterator[Target]:
    """Run nginx, which answers every chat at once, until the block ends."""
    port = free_port()
    models = json.dumps({"object": "list", "data": [_MODEL]})
    words = {"port": str(port), "models": models, "answer": json.dumps(_ANSWER)}
    conf = fill(NGINX_CONF, {"inner": _SERVER, **words})
    own = folder / "upstream"
    own.mkdir()
    (own / "nginx.conf").write_text(conf)
    target = Target(name="direct", url=f"http://127.0.0.1:{port}")
    with running_program(NGINX_COMMAND.split(), own, {}):
        wait_until(target.answers, 10, "nginx answers")
        yield target


def press(target: Target, body: bytes, connections: int, seconds: int, folder: Path) -> Load:
    """Send this body again and again on so many connections, the next when the last is answered."""
    script = folder / "load.lua"
    headers = "\n".join(f'wrk.headers["{name}"] = "{at}"' for name, at in target.headers.items())
    script.write_text(_LUA.format(headers=headers, body=body.decode()))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s"]
    done = subprocess.run(
        [*command, "-s", str(script), target.url + PATH],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return read_load(done.stdout)


def read_load(text: str) -> Load:
    """Read what the script above has wrk print.

    Raises:
        ValueError: wrk printed no result.
    """
    found = re.search(r"^RESULT (\d+) (\S+) (\S+) (\S+) (\d+)$", text, re.MULTILINE)
    if found is None:
        raise ValueError(f"wrk printed no result: {text[-300:]}")
    num_answered, seconds, p50, p99, num_failed = found.groups()
    return Load(int(num_answered), float(seconds), float(p50), float(p99), int(num_failed))
