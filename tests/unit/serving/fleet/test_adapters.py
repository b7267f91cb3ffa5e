"""The registry of adapters: what gets in, how it lies on disk, and what a change is answered."""

import hashlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from serving.errors import (
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    StropError,
    UnavailableError,
)
from serving.fleet.adapter_check import check_adapter, check_listing
from serving.fleet.adapters import (
    adapter_path,
    find_adapter,
    import_adapter,
    list_adapters,
    sweep_drafts,
    verify_adapter,
)
from serving.fleet.tensors import read_base_shapes
from serving.settings import Settings
from serving.store.database import Database
from serving.store.releases import list_releases
from serving.store.tables import Adapter, Alias, Release
from serving.types import PoolKind, ReleaseState

MakeFolder = Callable[..., Path]
Q = "base_model.model.model.layers.0.self_attn.q_proj"


async def _import(
    database: Database, settings: Settings, alias: Alias, folder: Path
) -> tuple[Adapter, Release]:
    async with database.session() as session:
        return await import_adapter(session, settings, alias, folder, "a test")


async def test_an_import_is_named_by_its_content(
    database: Database, settings: Settings, alias: Alias, make_folder: MakeFolder
) -> None:
    """`<alias>-v<N>-<digest8>`; the digest is the manifest's, which has every file's."""
    adapter, release = await _import(database, settings, alias, make_folder())
    folder = settings.adapter_dir / adapter.name
    manifest = (folder / "manifest.json").read_bytes()
    facts = json.loads(manifest)
    assert adapter.digest == hashlib.sha256(manifest).hexdigest()
    assert adapter.name == f"support-v1-{adapter.digest[:8]}"
    assert (facts["tenant"], facts["alias"], facts["version"]) == ("acme", "support", 1)
    assert facts["files"] == {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in ("adapter_config.json", "adapter_model.safetensors")
    }
    assert (adapter.rank, adapter.pool) == (8, "small")
    verify_adapter(settings, adapter)
    assert (release.number, release.state) == (2, ReleaseState.CANDIDATE)
    assert (release.adapter_id, release.system_prompt) == (adapter.id, "Be brief.")


async def test_another_user_can_read_an_adapter(
    database: Database, settings: Settings, alias: Alias, make_folder: MakeFolder
) -> None:
    """An engine may run as somebody else: files 0644 in folders 0755, whatever they were."""
    source = make_folder()
    for file in source.iterdir():
        file.chmod(0o600)
    adapter, _ = await _import(database, settings, alias, source)
    folder = settings.adapter_dir / adapter.name
    assert stat.S_IMODE(settings.adapter_dir.stat().st_mode) == 0o755
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o644}


async def test_versions_count_up_and_drafts_are_gone(
    database: Database, settings: Settings, alias: Alias, make_folder: MakeFolder
) -> None:
    """The same folder twice is two versions with two names; nothing else is left on disk."""
    source = make_folder()
    (source / "README.md").write_text("# An adapter")
    first, _ = await _import(database, settings, alias, source)
    second, _ = await _import(database, settings, alias, source)
    assert (first.version, second.version) == (1, 2)
    assert first.name != second.name
    assert {entry.name for entry in settings.adapter_dir.iterdir()} == {first.name, second.name}
    async with database.session() as session:
        assert await list_adapters(session) == await list_adapters(session, alias)
        assert (await find_adapter(session, second.name)).id == second.id
        with pytest.raises(NotFoundError, match="strop adapters list"):
            await find_adapter(session, "support-v9-00000000")


async def test_the_engines_path_follows_the_pools_root(settings: Settings) -> None:
    """A remote engine knows our folder by another name."""
    small, large = settings.pools
    assert adapter_path(settings, small, "a-v1") == "/remote/adapters/a-v1"
    assert adapter_path(settings, large, "a-v1") == str(settings.adapter_dir / "a-v1")


async def test_an_upstream_without_adapters_takes_none(
    database: Database, settings: Settings, alias: Alias, make_folder: MakeFolder
) -> None:
    """A pool of kind `openai` is told apart before anything is copied."""
    pools = tuple(pool.model_copy(update={"kind": PoolKind.OPENAI}) for pool in settings.pools)
    foreign = settings.model_copy(update={"pools": pools})
    with pytest.raises(InvalidRequestError, match="takes no adapters"):
        await _import(database, foreign, alias, make_folder())
    assert not settings.adapter_dir.exists()


async def test_a_full_or_forbidden_disk_is_told(
    database: Database, settings: Settings, alias: Alias, make_folder: MakeFolder
) -> None:
    """With the system's own words, and without a row for what is not there."""
    settings.adapter_dir.write_text("a file in the way")
    with pytest.raises(UnavailableError, match="was not copied to"):
        await _import(database, settings, alias, make_folder())
    async with database.session() as session:
        assert await list_adapters(session) == []


def _link(folder: Path) -> None:
    weights = folder / "adapter_model.safetensors"
    weights.rename(folder.parent / "elsewhere")
    weights.symlink_to(folder.parent / "elsewhere")


def _truncate(folder: Path) -> None:
    weights = folder / "adapter_model.safetensors"
    os.truncate(weights, weights.stat().st_size - 8)


def _lengthen(folder: Path) -> None:
    with (folder / "adapter_model.safetensors").open("ab") as file:
        file.write(b"more")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "adapter_model.bin").write_bytes(b""), "adapter_model.bin"),
        (lambda folder: (folder / "optimizer.pt").write_bytes(b""), "optimizer.pt"),
        (lambda folder: (folder / "state.pkl").write_bytes(b""), "state.pkl"),
        (lambda folder: (folder / "modeling.py").write_bytes(b""), "modeling.py"),
        (lambda folder: (folder / "checkpoint-1").mkdir(), "checkpoint-1"),
        (lambda folder: (folder / "adapter_config.json").unlink(), "adapter_config.json is miss"),
        (lambda folder: (folder / "adapter_model.safetensors").unlink(), "safetensors is missing"),
        (_link, "safetensors is a link"),
        (lambda folder: (folder / "README.md").symlink_to("/etc/passwd"), "README.md is a link"),
        (_truncate, "no whole safetensors file"),
        (_lengthen, "no whole safetensors file"),
        (lambda folder: (folder / "adapter_model.safetensors").write_bytes(b""), "no whole"),
        (lambda folder: (folder / "adapter_config.json").write_text("[]"), "no LoRA config"),
        (lambda folder: (folder / "adapter_config.json").write_text("{"), "truncated"),
    ],
)
async def test_a_folder_that_is_no_adapter_is_refused(
    database: Database,
    settings: Settings,
    alias: Alias,
    make_folder: MakeFolder,
    spoil: Callable[[Path], Any],
    words: str,
) -> None:
    """Anything unexpected is refused by its name, and nothing of it stays."""
    folder = make_folder()
    spoil(folder)
    with pytest.raises(InvalidRequestError, match=words):
        await _import(database, settings, alias, folder)
    async with database.session() as session:
        assert await list_adapters(session) == []
        assert len(await list_releases(session, alias)) == 1
    assert not list(settings.adapter_dir.glob("*"))


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


async def test_a_change_after_import_is_found(
    database: Database, settings: Settings, alias: Alias, make_folder: MakeFolder
) -> None:
    """A flipped bit anywhere, a file more or less: verify names the file."""
    adapter, _ = await _import(database, settings, alias, make_folder())
    folder = settings.adapter_dir / adapter.name
    for name in ("adapter_config.json", "adapter_model.safetensors", "manifest.json"):
        file = folder / name
        whole = file.read_bytes()
        for place in (0, len(whole) // 2, len(whole) - 1):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            with pytest.raises(ConflictError, match=f"{name} has changed"):
                verify_adapter(settings, adapter)
        file.unlink()
        with pytest.raises(ConflictError, match=f"{name} is missing"):
            verify_adapter(settings, adapter)
        file.write_bytes(whole)
    (folder / "more.py").write_text("")
    with pytest.raises(ConflictError, match=r"more\.py was added"):
        verify_adapter(settings, adapter)
    (folder / "more.py").unlink()
    verify_adapter(settings, adapter)


async def test_a_killed_import_leaves_nothing_that_loads(
    database: Database, settings: Settings, alias: Alias, make_folder: MakeFolder
) -> None:
    """A draft begins with a dot, and goes when it is old; one under way stays."""
    old, young = (settings.adapter_dir / f".draft-{age}" for age in ("old", "young"))
    for draft in (old, young):
        draft.mkdir(parents=True)
        (draft / "adapter_model.safetensors").write_bytes(b"half")
    os.utime(old, (0, 0))
    adapter, _ = await _import(database, settings, alias, make_folder())
    assert {entry.name for entry in settings.adapter_dir.iterdir()} == {young.name, adapter.name}
    sweep_drafts(settings, older_than_seconds=-1)
    assert {entry.name for entry in settings.adapter_dir.iterdir()} == {adapter.name}


@pytest.mark.parametrize("is_spoilt", [False, True])
async def test_an_import_killed_before_its_commit_can_be_made_again(
    database: Database,
    settings: Settings,
    alias: Alias,
    make_folder: MakeFolder,
    is_spoilt: bool,
) -> None:
    """The folder is there and its row is not: the next import takes it over, or replaces it."""
    source = make_folder()

    async def import_and_fail() -> str:
        async with database.session() as session:
            adapter, _ = await import_adapter(session, settings, alias, source, "a test")
            await session.rollback()
            return adapter.name

    name = await import_and_fail()
    if is_spoilt:
        (settings.adapter_dir / name / "adapter_config.json").write_text("{}")
    adapter, _ = await _import(database, settings, alias, source)
    assert adapter.name == name
    verify_adapter(settings, adapter)


@hypothesis_settings(deadline=None, max_examples=60)
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
