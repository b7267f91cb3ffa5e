"""What a folder must be to count as an adapter: checked before any engine hears of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from serving.errors import (
    InvalidRequestError,
    StropError,
)
from serving.fleet.adapter_check import check_adapter, check_listing
from serving.fleet.tensors import read_base_shapes

MakeFolder = Callable[..., Path]


Q = "base_model.model.model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
        ({"task_type": "SEQ_CLS"}, "task_type"),
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "bias is 'all'"),
        ({"lora_bias": True}, "lora_bias"),
        ({"modules_to_save": ["lm_head"]}, "lm_head"),
        ({"init_lora_weights": "pissa"}, "pissa"),
        ({"init_lora_weights": "olora"}, "olora"),
        ({"alora_invocation_tokens": [1]}, "alora"),
        ({"layer_replication": [[0, 1]]}, "layer_replication"),
        ({"use_bdlora": {"a": 1}}, "use_bdlora"),
        ({"use_qalora": True}, "use_qalora"),
        ({"auto_map": {"AutoModel": "modeling.Evil"}}, "auto_map"),
        ({"rank": 32}, "max_lora_rank is 16"),
        ({"rank_pattern": {"q_proj": 64}}, "rank is 64"),
        ({"rank_pattern": {"q_proj": 0}}, "below 1"),
        ({"alpha_pattern": {"(a+)+b": 1}}, "more than a module's name"),
        ({"r": "8"}, "Expected `int`"),
        ({"lora_alpha": None}, "Expected `float`"),
        ({"r": 4}, "no LoRA of rank 4"),
        ({"rank_pattern": {"q_proj": 4}}, "q_proj has shapes"),
        ({"target_modules": ["q_proj", "v_proj"]}, "down_proj is not among target_modules"),
    ],
)
def test_what_vllm_cannot_serve_is_refused(
    make_folder: MakeFolder, base_model: Path, config: dict[str, Any], words: str
) -> None:
    """PEFTHelper's rules, told with the field's name before an engine is asked."""
    folder = make_folder(**config)
    with pytest.raises(InvalidRequestError, match=words):
        check_adapter(folder, max_rank=16, base=read_base_shapes(base_model))


@pytest.mark.parametrize(
    "config",
    [
        {"use_rslora": True},
        {"init_lora_weights": "gaussian"},
        {"init_lora_weights": False},
        {"rank_pattern": {"nothing_like_it": 16}},
        {"target_modules": r".*\.(q|v|down)_proj"},
        {"target_modules": ["self_attn.q_proj", "v_proj", "down_proj"]},
        {"task_type": None, "a_field_of_a_newer_peft": 1},
    ],
)
def test_what_vllm_can_serve_is_let_through(
    make_folder: MakeFolder, base_model: Path, config: dict[str, Any]
) -> None:
    """The check is not stricter than it has to be."""
    folder = make_folder(**config)
    check_listing(folder)
    assert check_adapter(folder, max_rank=16, base=read_base_shapes(base_model)).r == 8


@pytest.mark.parametrize(
    ("tensors", "drop", "words"),
    [
        ({f"{Q}.lora_A.weight": (8, 12)}, (), r"shape \(16, 12\).*are \(16, 16\)"),
        ({f"{Q}.lora_B.weight": (12, 8)}, (), r"shape \(12, 16\)"),
        ({f"{Q}.lora_A.weight": (8, 16, 1)}, (), "no LoRA of rank 8"),
        ({}, (f"{Q}.lora_B.weight",), "without the other half"),
        ({f"{Q}.weight": (16, 16)}, (), "no lora_A or lora_B"),
        ({f"{Q}.lora_magnitude_vector": (16,)}, (), "no lora_A or lora_B"),
        ({"lm_head.lora_A.weight": (8, 16)}, (), "no lora_A or lora_B"),
        (
            {
                "base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight": (8, 16),
                "base_model.model.model.layers.7.self_attn.q_proj.lora_B.weight": (16, 8),
            },
            (),
            "layers.7.self_attn.q_proj is not in the base model",
        ),
    ],
)
def test_tensors_have_to_fit_the_base_model(
    make_folder: MakeFolder,
    base_model: Path,
    tensors: dict[str, tuple[int, ...]],
    drop: tuple[str, ...],
    words: str,
) -> None:
    """Names, pairs and shapes, against the base model's own weights."""
    made = {name: numpy.ones(shape, "float32") for name, shape in tensors.items()}
    folder = make_folder(tensors=made, drop=drop)
    with pytest.raises(InvalidRequestError, match=words):
        check_adapter(folder, max_rank=16, base=read_base_shapes(base_model))


@pytest.mark.parametrize("value", [numpy.nan, numpy.inf, -numpy.inf])
@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16"])
def test_every_value_is_finite(make_folder: MakeFolder, kind: str, value: float) -> None:
    """One bad number anywhere is found, in each of the types that weights come in."""
    folder = make_folder()
    weights = _as(kind, numpy.linspace(-3, 3, 128).reshape(8, 16))
    _write_raw(folder, kind, weights)
    check_adapter(folder, max_rank=16, base=None)
    weights[-1, -1] = _as(kind, numpy.array(value))
    _write_raw(folder, kind, weights)
    with pytest.raises(InvalidRequestError, match=r"q_proj\.lora_A\.weight holds a value"):
        check_adapter(folder, max_rank=16, base=None)


def test_weights_of_another_type_are_refused(make_folder: MakeFolder) -> None:
    """Integers are no LoRA weights, and float64 is none that an engine takes."""
    folder = make_folder(tensors={f"{Q}.lora_A.weight": numpy.ones((8, 16), "int32")})
    with pytest.raises(InvalidRequestError, match="I32"):
        check_adapter(folder, max_rank=16, base=None)


@pytest.mark.parametrize(
    ("config", "has_weights"),
    [
        ({"architectures": ["LlamaForCausalLM"], "quantization_config": {}}, True),
        ({"architectures": ["LlavaForConditionalGeneration"]}, True),
        ({"architectures": ["LlamaForCausalLM"]}, False),
    ],
)
def test_shapes_that_cannot_tell_are_not_used(
    base_model: Path, config: dict[str, Any], has_weights: bool
) -> None:
    """Quantised weights, models of parts, and weights elsewhere: the engine decides at load."""
    (base_model / "config.json").write_text(json.dumps(config))
    if not has_weights:
        (base_model / "model.safetensors").unlink()
    assert read_base_shapes(base_model) is None


@given(data=st.data())
def test_no_mutant_passes_and_none_breaks_the_check(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Bytes changed at random: refused with one of our errors, or still a finite LoRA."""
    folder = tmp_path_factory.mktemp("mutant")
    weights = {
        f"{Q}.lora_A.weight": numpy.ones((8, 16), "float32"),
        f"{Q}.lora_B.weight": numpy.ones((16, 8), "float32"),
    }
    save_file(weights, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 8, "lora_alpha": 8, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    victim = folder / data.draw(
        st.sampled_from(["adapter_config.json", "adapter_model.safetensors"])
    )
    whole = bytearray(victim.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    victim.write_bytes(whole)
    base = {"model.layers.0.self_attn.q_proj.weight": (16, 16)}
    try:
        checked = check_adapter(folder, max_rank=16, base=base)
    except StropError:
        return
    assert 1 <= checked.max_rank <= 16


def _as(kind: str, values: Any) -> Any:
    """Return values in a type; bfloat16, which numpy lacks, as its 16 bits."""
    if kind != "bfloat16":
        return values.astype(kind)
    return (values.astype("float32").view("uint32") >> 16).astype("uint16")


def _write_raw(folder: Path, kind: str, weights: Any) -> None:
    """Write a pair whose lora_A holds `weights`, and at an offset that is not aligned."""
    word = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}[kind]
    parts = {f"{Q}.lora_A.weight": weights, f"{Q}.lora_B.weight": _as(kind, numpy.ones((16, 8)))}
    header: dict[str, Any] = {}
    end = 0
    for name, part in parts.items():
        begin, end = end, end + part.nbytes
        header[name] = {"dtype": word, "shape": part.shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    data = b"".join(part.tobytes() for part in parts.values())
    path = folder / "adapter_model.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
