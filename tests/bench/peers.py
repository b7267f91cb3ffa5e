"""The gateways that Strop is measured beside: how each is installed and started.

They stay out of this repository and of its environment: `--peers FOLDER` holds them. One that is
not there is left out, and said to be.
"""

import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.ports import free_port
from tests.stack import wait_until

PATH = "/v1/chat/completions"
_KEY = "sk-test"
_START_SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class Target:
    """Something that answers chats."""

    name: str
    url: str
    """Without a path."""
    model: str = "base"
    headers: Mapping[str, str] = field(default_factory=dict)
    process: psutil.Process | None = None
    """Whose CPU and memory it takes; None: of no interest."""

    def request(self, body: bytes) -> urllib.request.Request:
        """Return one request."""
        headers = {"Content-Type": "application/json", **self.headers}
        return urllib.request.Request(self.url + PATH, body, headers)  # noqa: S310 - ours

    def answers(self) -> bool:
        """Whether it answers a chat."""
        try:
            with urllib.request.urlopen(self.request(chat(self.model)), timeout=5) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except OSError:
            return False

    @property
    def cpu_seconds(self) -> float:
        """CPU that it has taken so far, its child processes too."""
        times = [process.cpu_times() for process in self._processes()]
        return sum(time.user + time.system for time in times)

    @property
    def memory_mb(self) -> float:
        """Resident memory, MB, its child processes too."""
        return sum(process.memory_info().rss for process in self._processes()) / 1e6

    def _processes(self) -> list[psutil.Process]:
        assert self.process is not None
        return [self.process, *self.process.children(recursive=True)]


def chat(model: str, num_bytes: int = 0) -> bytes:
    """Return a chat's body: a short one, or one whose question is `num_bytes` long."""
    question = "Hello, how are you today? Please tell me something about my order."
    if num_bytes:
        lines = (f"Order {number} was due on Monday. " for number in range(num_bytes // 25))
        question = "".join(lines)[:num_bytes]
    return json.dumps(
        {
            "model": model,
            "messages": [
                {"role": "system", "content": "You are a helpful assistant."},
                {"role": "user", "content": question},
            ],
            "max_tokens": 64,
            "temperature": 0.2,
        }
    ).encode()


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A gateway and how it is started. In `command` and `files`: {peers}, {port}, {upstream}."""

    program: str
    """What has to be there: in the folder of peers, or a command of the machine."""
    setup: str
    command: str
    files: Mapping[str, str] = field(default_factory=dict)
    """What it reads, by name; written into a folder that it is started in."""
    headers: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    def is_there(self, peers: Path) -> bool:
        """Whether it can be started."""
        return (peers / self.program).exists() or shutil.which(self.program) is not None


NGINX = "nginx"
NGINX_COMMAND = "nginx -p . -e nginx.err -c nginx.conf"
NGINX_SETUP = "apt-get install nginx wrk"
NGINX_CONF = """daemon off; worker_processes 1; pid nginx.pid;
events { worker_connections 4096; }
http {
  access_log off; keepalive_requests 100000000; default_type application/json;
  client_max_body_size 16m; client_body_buffer_size 1m;
  client_body_temp_path body; proxy_temp_path proxied; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
  {inner}
}
"""

PEERS = {
    "nginx": Peer(
        program=NGINX,
        setup=NGINX_SETUP,
        command=NGINX_COMMAND,
        files={
            "nginx.conf": NGINX_CONF.replace(
                "{inner}",
                "upstream up { server {upstream_host}; keepalive 256; }\n"
                "  server { listen 127.0.0.1:{port}; location / { proxy_pass http://up; "
                'proxy_http_version 1.1; proxy_set_header Connection ""; } }',
            )
        },
    ),
    "vllm-router": Peer(
        program="vllm-router/bin/vllm-router",
        setup="python3 -m venv {peers}/vllm-router && {peers}/vllm-router/bin/pip install vllm-router",
        command="{peers}/vllm-router/bin/vllm-router --worker-urls {upstream} --host 127.0.0.1 "
        "--port {port} --policy round_robin",
    ),
    "portkey": Peer(
        program="portkey/node_modules/@portkey-ai/gateway/build/start-server.js",
        setup="mkdir -p {peers}/portkey && npm install --prefix {peers}/portkey @portkey-ai/gateway",
        command="node {peers}/portkey/node_modules/@portkey-ai/gateway/build/start-server.js "
        "--port={port} --headless",
        headers={"x-portkey-provider": "openai", "x-portkey-custom-host": "{upstream}/v1"},
        environment={"TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"},
    ),
    "litellm": Peer(
        program="litellm/bin/litellm",
        setup="python3 -m venv {peers}/litellm && {peers}/litellm/bin/pip install 'litellm[proxy]'",
        command="{peers}/litellm/bin/litellm --config config.yaml --port {port} --host 127.0.0.1",
        files={
            "config.yaml": "model_list:\n"
            "  - model_name: base\n"
            "    litellm_params: {model: openai/a0, api_base: '{upstream}/v1', api_key: x}\n"
            "litellm_settings: {num_retries: 0, request_timeout: 60, telemetry: false}\n"
            f"general_settings: {{master_key: {_KEY}}}\n"
        },
        environment={"LITELLM_LOCAL_MODEL_COST_MAP": "True"},
    ),
}


def missing(names: tuple[str, ...], peers: Path) -> list[str]:
    """Return, for each peer that is not there, what would bring it."""
    return [
        f"{name} is left out. To have it: {PEERS[name].setup.format(peers=peers)}"
        for name in names
        if not PEERS[name].is_there(peers)
    ]


def fill(text: str, words: Mapping[str, str]) -> str:
    """Put words in the places of `{name}`; other braces stay: configurations are full of them."""
    for name, word in words.items():
        text = text.replace(f"{{{name}}}", word)
    return text


@contextmanager
def running_peers(
    names: tuple[str, ...], peers: Path, folder: Path, upstream: str
) -> Iterator[list[Target]]:
    """Run those of these peers that are there in front of `upstream`, until the block ends."""
    with ExitStack() as stack:
        found = [(name, PEERS[name]) for name in names if PEERS[name].is_there(peers)]
        targets = [
            stack.enter_context(_running_peer(name, peer, peers, folder / name, upstream))
            for name, peer in found
        ]
        for target in targets:
            wait_until(target.answers, _START_SECONDS, f"{target.name} answers (see its log)")
        yield targets


@contextmanager
def _running_peer(
    name: str, peer: Peer, peers: Path, folder: Path, upstream: str
) -> Iterator[Target]:
    port = free_port()
    words = {"peers": str(peers.resolve()), "port": str(port), "upstream": upstream}
    words["upstream_host"] = upstream.removeprefix("http://")
    folder.mkdir()
    for file, text in peer.files.items():
        (folder / file).write_text(fill(text, words))
    command = fill(peer.command, words).split()
    with running_program(command, folder, peer.environment) as process:
        yield Target(
            name=name,
            url=f"http://127.0.0.1:{port}",
            headers={
                "Authorization": f"Bearer {_KEY}",
                **{header: fill(text, words) for header, text in peer.headers.items()},
            },
            process=process,
        )


@contextmanager
def running_program(
    command: list[str], folder: Path, environment: Mapping[str, str]
) -> Iterator[psutil.Process]:
    """Run a program in `folder` until the block ends; what it says is in `log` there."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **environment}, stdout=log, stderr=log
        )
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
