"""What the machine has is read from the kernel's own files."""

from pathlib import Path

import pytest

from serving.fleet.hardware import find_hardware, names_bf16, shows_nvidia_gpu, usable_memory

GIB = 2**30


@pytest.mark.parametrize("path", ["dev/nvidia0", "proc/driver/nvidia/gpus/0000:01:00.0"])
def test_a_driver_that_shows_a_gpu_is_seen(tmp_path: Path, path: str) -> None:
    """Either the device or the driver's own list is enough."""
    assert not shows_nvidia_gpu(tmp_path)
    (tmp_path / path).parent.mkdir(parents=True)
    assert not shows_nvidia_gpu(tmp_path)
    (tmp_path / path).touch()
    assert shows_nvidia_gpu(tmp_path)


@pytest.mark.parametrize(
    ("limits", "usable"),
    [
        ([], 64 * GIB),
        (["max", ""], 64 * GIB),
        ([str(8 * GIB), ""], 8 * GIB),
        (["", "9223372036854771712"], 64 * GIB),
    ],
)
def test_a_containers_limit_counts(limits: list[str], usable: int) -> None:
    """The smaller of what is installed and what the container may use; v1's sentinel is none."""
    assert usable_memory(64 * GIB, limits) == usable


def test_bfloat16_is_named_on_x86_and_on_arm() -> None:
    """Flags are whole words: `avx` alone is none."""
    assert names_bf16("flags\t\t: fpu avx avx512_bf16 amx_tile")
    assert names_bf16("Features\t: fp asimd bf16")
    assert not names_bf16("flags\t\t: fpu avx avx2 f16c")


def test_this_machine_has_cores_and_memory() -> None:
    """Looking at the machine works where the tests run."""
    hardware = find_hardware()
    assert hardware.num_cores >= 1
    assert hardware.memory_gib > 0.1
