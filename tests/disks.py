"""Disks that are soon full: a real one where this user may mount one, and one that pretends."""

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest


@contextmanager
def mounted_disk(folder: Path, num_bytes: int) -> Iterator[None]:
    """Have a disk of so many bytes at `folder`; skip the test where nobody may mount one."""
    folder.mkdir(parents=True)
    mount = shutil.which("mount")
    size = f"size={num_bytes}"
    if (
        mount is None
        or subprocess.run(
            [mount, "-t", "tmpfs", "-o", size, "tmpfs", folder], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("this user may not mount a disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def pretended_disk(folder: Path, num_bytes: int) -> Iterator[None]:
    """Have this process find no more room than so many bytes in `folder`, as write(2) tells it."""
    folder.mkdir(parents=True)
    disk = _Disk(folder, num_bytes)
    with (
        patch.object(os, "write", disk.write),
        patch.object(os, "posix_fallocate", disk.posix_fallocate),
    ):
        yield


class _Disk:
    def __init__(self, folder: Path, num_bytes: int) -> None:
        self._folder = folder.resolve()
        self._num_bytes = num_bytes
        self._write = os.write
        self._reserved: set[int] = set()
        """Descriptors of files without a name, which no folder lists."""

    def write(self, descriptor: int, data: bytes) -> int:
        if not self._holds(descriptor):
            return self._write(descriptor, data)
        room = self._room()
        if room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._write(descriptor, data[:room])

    def posix_fallocate(self, descriptor: int, offset: int, length: int) -> None:
        if length > self._room():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.ftruncate(descriptor, offset + length)
        self._reserved.add(descriptor)

    def _holds(self, descriptor: int) -> bool:
        try:
            return Path(f"/proc/self/fd/{descriptor}").readlink().is_relative_to(self._folder)
        except FileNotFoundError:
            return False

    def _room(self) -> int:
        with os.scandir(self._folder) as entries:
            taken = sum(entry.stat().st_size for entry in entries)
        reserved = sum(os.fstat(fd).st_size for fd in self._reserved if self._holds(fd))
        return self._num_bytes - taken - reserved
