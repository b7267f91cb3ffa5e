"""Safetensors files, read without a tensor library: names, shapes, and whether all is finite.

The format: 8 bytes little-endian length of the header, the header as JSON
`{name: {"dtype", "shape", "data_offsets": [begin, end]}}`, then the data.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from safetensors import SafetensorError, safe_open

from serving.errors import InvalidRequestError

# IEEE 754: a value is infinite or not a number if all bits of its exponent are set.
_EXPONENT: Final[dict[str, tuple[str, int]]] = {
    "F32": ("<u4", 0x7F800000),
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
}
_CHUNK: Final = 2**22  # values looked at together: some MB of memory, whatever the tensor's size


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where a tensor lies in its file: shape, and [begin, end) in bytes from the file's start."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name; their data is not read.

    Raises:
        InvalidRequestError: it is no whole safetensors file.
    """
    _check_format(path)
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    data = 8 + length
    return {
        name: Tensor(
            entry["dtype"],
            tuple(entry["shape"]),
            data + entry["data_offsets"][0],
            data + entry["data_offsets"][1],
        )
        for name, entry in header.items()
    }


def find_not_finite(path: Path, tensors: Mapping[str, Tensor]) -> Iterator[str]:
    """Yield the names of tensors that hold an infinity or no number.

    Raises:
        InvalidRequestError: a tensor's type is none that LoRA weights come in.
    """
    for name, tensor in tensors.items():
        if tensor.dtype not in _EXPONENT:
            raise InvalidRequestError(
                f"{path} cannot be served: {name} has type {tensor.dtype}; LoRA weights are "
                f"{', '.join(_EXPONENT)}. Save the adapter again in one of these."
            )
        if not _is_finite(path, tensor):
            yield name


def read_base_shapes(folder: Path) -> dict[str, tuple[int, ...]] | None:
    """Return name -> shape of a base model's weights; None where they cannot tell.

    They cannot if they do not lie in `folder`, are quantised (packed, under other names), or
    belong to a model of several parts, whose modules the engine renames.

    Raises:
        InvalidRequestError: one of its files is no whole safetensors file.
    """
    if not _is_plain_language_model(folder / "config.json"):
        return None
    files = sorted(folder.glob("*.safetensors"))
    shapes = {name: tensor.shape for file in files for name, tensor in read_tensors(file).items()}
    return shapes or None


def _is_plain_language_model(path: Path) -> bool:
    if not path.is_file():
        return False
    config = json.loads(path.read_bytes())
    architectures = config.get("architectures") or []
    is_causal = any(name.endswith("ForCausalLM") for name in architectures)
    return is_causal and "quantization_config" not in config


def _is_finite(path: Path, tensor: Tensor) -> bool:
    # Imported here: only who imports an adapter looks at its values, and gateways come by.
    import numpy

    kind, exponent = _EXPONENT[tensor.dtype]
    count = (tensor.end - tensor.begin) // numpy.dtype(kind).itemsize
    if count == 0:
        return True
    bits = numpy.memmap(path, dtype=kind, mode="r", offset=tensor.begin, shape=(count,))
    return not any(
        bool(((bits[first : first + _CHUNK] & exponent) == exponent).any())
        for first in range(0, count, _CHUNK)
    )


def _check_format(path: Path) -> None:
    """Let the library look first: it refuses gaps, overlaps, and bytes missing or too many."""
    try:
        with safe_open(path, framework="numpy"):
            pass
    except (SafetensorError, OSError) as error:
        raise InvalidRequestError(
            f"{path} is no whole safetensors file: {error}. Copy it again from where it was made."
        ) from error
