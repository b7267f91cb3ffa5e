"""What a training may take: set before anything large is imported, so that serving never notices."""

import errno
import os
import resource
from pathlib import Path

from retrain.spec import Limits

LIBRARY_BYTES = 2**30
"""What the libraries alone take (torch, transformers, trl: 0.6 GB seen), and a little to start with."""

_OUT_OF_MEMORY_WORDS = ("allocate memory", "out of memory", "bad_alloc", "cannot allocate")
_KILL_ME_FIRST = "1000"


def cap_memory(limits: Limits) -> None:
    """Cap private memory, and offer this process to the kernel before the engine.

    Raises:
        MemoryError: the cap is so low that the libraries would die in it, some without a word.
    """
    # Raising one's own score needs no privilege; where /proc is hidden the cap still holds.
    score = Path("/proc/self/oom_score_adj")
    if score.exists():
        score.write_text(_KILL_ME_FIRST)
    if limits.memory_bytes is None:
        return
    if limits.memory_bytes < LIBRARY_BYTES:
        raise MemoryError(
            f"{limits.memory_bytes} bytes are allowed; the libraries alone take {LIBRARY_BYTES}"
        )
    # Not RLIMIT_AS: CUDA and threads reserve address space by the terabyte and never touch it.
    resource.setrlimit(resource.RLIMIT_DATA, (limits.memory_bytes, limits.memory_bytes))


def lower_priority(limits: Limits) -> None:
    """Give way to whoever serves; read by the numeric libraries when they are imported."""
    os.nice(limits.nice)
    # Waiting threads sleep instead of spinning: on cores shared with an engine, spinning stops both.
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    if limits.threads is not None:
        os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(limits.threads)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this failure, or what caused it, is a lack of memory. Torch says so only in words."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    if any(words in str(error).lower() for words in _OUT_OF_MEMORY_WORDS):
        return True
    return error.__cause__ is not None and is_out_of_memory(error.__cause__)


def is_disk_full(error: BaseException) -> bool:
    """Whether this failure is a file that could not be written for lack of room."""
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    if getattr(error, "errno", None) in full:
        return True
    # safetensors reports the number in words, torch.save's writer only that a write fell short.
    words = (*(f"os error {number}" for number in full), "inline_container", "PytorchStreamWriter")
    return any(word in str(error) for word in words)
