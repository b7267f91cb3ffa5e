"""What this machine has, as far as an engine's start depends on it."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil

_GIB = 2**30
_CPU_INFO = Path("/proc/cpuinfo")
_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
# cgroup v2, then v1: in a container the machine's own figure is not ours to use.
_MEMORY_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What there is: an NVIDIA GPU or not, cores that we may use, memory that we may use."""

    has_gpu: bool
    has_cpu_bf16: bool
    """Whether the CPU itself calculates in bfloat16; without, it is emulated."""
    num_cores: int
    memory_bytes: int

    @property
    def memory_gib(self) -> float:
        """Memory, GiB."""
        return self.memory_bytes / _GIB


def find_hardware() -> Hardware:
    """Look at this machine."""
    return Hardware(
        has_gpu=shows_nvidia_gpu(Path("/")) or shutil.which("nvidia-smi") is not None,
        has_cpu_bf16=names_bf16(_read(_CPU_INFO)),
        num_cores=len(os.sched_getaffinity(0)),
        memory_bytes=usable_memory(
            psutil.virtual_memory().total, [_read(path) for path in _MEMORY_LIMITS]
        ),
    )


def shows_nvidia_gpu(root: Path) -> bool:
    """Whether an NVIDIA driver shows a GPU in the file system under `root`."""
    gpus = root / "proc/driver/nvidia/gpus"
    return (root / "dev/nvidia0").exists() or (gpus.is_dir() and any(gpus.iterdir()))


def names_bf16(cpu_info: str) -> bool:
    """Whether the text of /proc/cpuinfo names instructions for bfloat16 (x86 or ARM)."""
    return not _BF16_FLAGS.isdisjoint(cpu_info.split())


def usable_memory(installed_bytes: int, limits: list[str]) -> int:
    """Return the bytes we may use: what is installed, or less where a container says so.

    Args:
        installed_bytes: the machine's memory.
        limits: the text of cgroup limit files; `max` or empty means no limit.
    """
    numbers = [int(text) for text in limits if text.isdecimal()]
    return min([installed_bytes, *numbers])


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
