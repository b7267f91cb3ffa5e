"""Whether an adapter can be served, told before any engine hears of it.

The rules are vLLM's (`vllm/lora/peft_helper.py`, `vllm/lora/lora_model.py`), and stricter where a
file could do harm: an adapter is two files, `adapter_config.json` and `adapter_model.safetensors`.
"""

import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from serving.errors import InvalidRequestError
from serving.fleet.tensors import Tensor, find_not_finite, read_tensors

CONFIG: Final = "adapter_config.json"
WEIGHTS: Final = "adapter_model.safetensors"
MANIFEST: Final = "manifest.json"
_IGNORED: Final = frozenset({"README.md", "SHA256SUMS", MANIFEST})

# These only set the first weights of a training: what is saved is a plain LoRA.
_PLAIN_INITS: Final = frozenset({"gaussian", "eva", "orthogonal", "mica", "lora_ga"})
_TENSOR: Final = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
# PEFT takes regular expressions here. Names are enough, and cannot run for ever.
_PATTERN_KEY: Final = re.compile(r"\^?[A-Za-z0-9_.]+")
_MAX_FAULTS: Final = 5


class LoraConfig(msgspec.Struct, frozen=True):
    """The fields of PEFT's `adapter_config.json` that decide whether vLLM can serve it."""

    r: int
    lora_alpha: float
    target_modules: list[str] | str
    peft_type: str
    task_type: str | None = None
    bias: str = "none"
    modules_to_save: list[str] | None = None
    use_dora: bool = False
    lora_bias: bool = False
    init_lora_weights: bool | str | None = True
    rank_pattern: dict[str, int] | None = None
    alpha_pattern: dict[str, float] | None = None
    alora_invocation_tokens: Any = None
    layer_replication: Any = None
    use_bdlora: Any = None
    use_qalora: Any = None
    auto_map: Any = None

    @property
    def max_rank(self) -> int:
        """The greatest rank that any module has."""
        return max([self.r, *(self.rank_pattern or {}).values()])

    def rank_of(self, module: str) -> int:
        """Return a module's rank by PEFT's rule: the first pattern that ends its name wins."""
        for key, rank in (self.rank_pattern or {}).items():
            if re.match(rf"(.*\.)?({key})$", module):
                return rank
        return self.r


def check_listing(folder: Path) -> None:
    """Refuse a folder that holds anything but an adapter's files, by their names.

    Raises:
        InvalidRequestError: a file is missing, unexpected, or no plain file.
    """
    if not folder.is_dir():
        raise InvalidRequestError(f"{folder} is no folder. Name the folder that PEFT saved.")
    entries = {entry.name: entry.lstat().st_mode for entry in folder.iterdir()}
    faults = [f"{name} is missing" for name in (CONFIG, WEIGHTS) if name not in entries]
    for name, mode in sorted(entries.items()):
        if name not in _IGNORED | {CONFIG, WEIGHTS}:
            faults.append(f"{name} does not belong there")
        elif not stat.S_ISREG(mode):
            faults.append(f"{name} is a link or no plain file")
    _refuse(
        folder,
        faults,
        f"An adapter is a folder with plain files {CONFIG} and {WEIGHTS}; weights in any other "
        "format can carry code and are never read. Copy these two into a folder of their own.",
    )


def check_adapter(
    folder: Path, *, max_rank: int, base: Mapping[str, tuple[int, ...]] | None
) -> LoraConfig:
    """Read config and tensors as vLLM will, and look at every number.

    Args:
        folder: holds the two files.
        max_rank: the pool's `max_lora_rank`.
        base: the base model's weights, name -> shape; None where they are not on this machine
            (the engine then finds out at load).

    Raises:
        InvalidRequestError: vLLM would refuse it, or worse, would not. Names file and tensor.
    """
    config = _read_config(folder / CONFIG)
    _refuse(
        folder / CONFIG,
        list(config_faults(config, max_rank)),
        "Train it again as a plain LoRA that fits the pool, or raise the pool's max_lora_rank.",
    )
    tensors = read_tensors(folder / WEIGHTS)
    _refuse(
        folder / WEIGHTS,
        list(tensor_faults(tensors, config, base)),
        f"The tensors have to fit {CONFIG} and the pool's base model: is this the adapter that "
        "was trained for it, whole?",
    )
    _refuse(
        folder / WEIGHTS,
        [
            f"{name} holds a value that is not finite"
            for name in find_not_finite(folder / WEIGHTS, tensors)
        ],
        "The training diverged: train it again with a lower learning rate.",
    )
    return config


def check_copy(
    copy: Path, source: Path, *, max_rank: int, base: Mapping[str, tuple[int, ...]] | None
) -> LoraConfig:
    """Do `check_adapter` on a copy of `source`, which is what the messages name: people know it."""
    try:
        return check_adapter(copy, max_rank=max_rank, base=base)
    except InvalidRequestError as error:
        raise InvalidRequestError(error.message.replace(str(copy), str(source))) from error


def config_faults(config: LoraConfig, max_rank: int) -> Iterator[str]:
    """Yield what keeps vLLM from serving an adapter of this configuration."""
    if config.peft_type != "LORA":
        yield f"peft_type is {config.peft_type!r}, not 'LORA'"
    if config.task_type not in ("CAUSAL_LM", None):
        yield f"task_type is {config.task_type!r}, not 'CAUSAL_LM'"
    if config.bias != "none":
        yield f"bias is {config.bias!r}, not 'none'"
    if config.modules_to_save:
        yield f"modules_to_save is {config.modules_to_save}: vLLM serves no whole modules"
    init = config.init_lora_weights
    if isinstance(init, str) and init.lower() not in _PLAIN_INITS:
        yield f"init_lora_weights is {init!r}, which changes the base model's weights"
    unsupported = {
        "use_dora": config.use_dora,
        "lora_bias": config.lora_bias,
        "alora_invocation_tokens": config.alora_invocation_tokens,
        "layer_replication": config.layer_replication,
        "use_bdlora": config.use_bdlora,
        "use_qalora": config.use_qalora,
        "auto_map": config.auto_map,
    }
    yield from (f"{name} is set" for name, value in unsupported.items() if value)
    yield from _rank_faults(config, max_rank)


def _rank_faults(config: LoraConfig, max_rank: int) -> Iterator[str]:
    patterns = {**(config.rank_pattern or {}), **(config.alpha_pattern or {})}
    for key in patterns:
        if not _PATTERN_KEY.fullmatch(key):
            yield f"the pattern {key!r} is more than a module's name"
    if min([config.r, *(config.rank_pattern or {}).values()]) < 1:
        yield "a rank is below 1"
    if config.max_rank > max_rank:
        yield f"its rank is {config.max_rank}, the pool's max_lora_rank is {max_rank}"


def tensor_faults(
    tensors: Mapping[str, Tensor],
    config: LoraConfig,
    base: Mapping[str, tuple[int, ...]] | None,
) -> Iterator[str]:
    """Yield what is wrong with names and shapes: pairs of lora_A [r, in] and lora_B [out, r]."""
    modules: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, tensor in tensors.items():
        match = _TENSOR.fullmatch(name)
        if match is None:
            yield f"{name} is no lora_A or lora_B weight"
        else:
            modules.setdefault(match["module"], {})[match["side"]] = tensor.shape
    if not tensors:
        yield "it holds no tensors"
    for module, sides in modules.items():
        yield from _module_faults(module, sides, config, base)


def _module_faults(
    module: str,
    sides: Mapping[str, tuple[int, ...]],
    config: LoraConfig,
    base: Mapping[str, tuple[int, ...]] | None,
) -> Iterator[str]:
    if set(sides) != {"A", "B"}:
        yield f"{module} has lora_{''.join(sides)} without the other half"
        return
    a, b, rank = sides["A"], sides["B"], config.rank_of(module)
    if len(a) != 2 or len(b) != 2 or a[0] != rank or b[1] != rank:
        yield f"{module} has shapes {a} and {b}, which are no LoRA of rank {rank}"
        return
    if not _is_target(module, config.target_modules):
        yield f"{module} is not among target_modules"
    if base is None:
        return
    found = base.get(f"{module}.weight")
    if found is None:
        yield f"{module} is not in the base model"
    elif found != (b[0], a[1]):
        yield f"{module} changes weights of shape {(b[0], a[1])}; the base model's are {found}"


def _is_target(module: str, targets: list[str] | str) -> bool:
    # A string is a regular expression of PEFT's, which vLLM does not look at either.
    if isinstance(targets, str):
        return True
    return any(f".{module}".endswith(f".{target}") for target in targets)


def _read_config(path: Path) -> LoraConfig:
    try:
        return msgspec.json.decode(path.read_bytes(), type=LoraConfig)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequestError(
            f"{path} is no LoRA configuration: {error}. PEFT's save_pretrained writes one."
        ) from error


def _refuse(path: Path, faults: list[str], mend: str) -> None:
    if not faults:
        return
    shown = "; ".join(faults[:_MAX_FAULTS])
    rest = f"; and {len(faults) - _MAX_FAULTS} more" if len(faults) > _MAX_FAULTS else ""
    raise InvalidRequestError(f"{path} cannot be served: {shown}{rest}. {mend}")
