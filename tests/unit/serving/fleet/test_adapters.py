"""The registry of adapters: what gets in, how it lies on disk, and what a change is answered."""

import hashlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.errors import (
    ConfigurationError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    UnavailableError,
)
from serving.fleet.adapters import (
    adapter_path,
    find_adapter,
    import_adapter,
    list_adapters,
    sweep_drafts,
    verify_adapter,
)
from serving.settings import Settings
from serving.store.aliases import create_alias, id_of
from serving.store.database import Database
from serving.store.releases import list_releases
from serving.store.tables import Adapter, Alias, Release
from serving.types import PoolKind, ReleaseState, Task

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
    """Anything unexpected is refused by its name in the user's folder, and nothing of it stays."""
    folder = make_folder()
    spoil(folder)
    with pytest.raises(InvalidRequestError, match=words) as refused:
        await _import(database, settings, alias, folder)
    assert str(folder) in refused.value.message
    assert str(settings.adapter_dir) not in refused.value.message
    async with database.session() as session:
        assert await list_adapters(session) == []
        assert len(await list_releases(session, alias)) == 1
    assert not list(settings.adapter_dir.glob("*"))


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


async def test_another_tenants_adapter_is_never_replaced(
    database: Database, settings: Settings, alias: Alias, make_folder: MakeFolder
) -> None:
    """Names end in 32 bits of a digest: where two are the same, the registry decides, not the disk."""
    source = make_folder()
    async with database.session() as session:
        adapter, _ = await import_adapter(session, settings, alias, source, "a test")
        name, facts = adapter.name, adapter.model_dump(exclude={"id", "alias_id"})
        await session.rollback()
    theirs = settings.adapter_dir / name / "adapter_config.json"
    theirs.write_text("theirs")
    async with database.session() as session:
        other = await create_alias(
            session, settings, name="support", tenant="other", task=Task.CHAT, pool="small"
        )
        session.add(Adapter(alias_id=id_of(other), **facts))
    with pytest.raises(ConflictError, match=name):
        await _import(database, settings, alias, source)
    assert theirs.read_text() == "theirs"


async def test_an_adapter_is_not_taken_unchecked(
    database: Database, settings: Settings, alias: Alias, make_folder: MakeFolder
) -> None:
    """A pool without a base model, as in a command that reads another file than `strop up`."""
    pools = tuple(pool.model_copy(update={"base_model": ""}) for pool in settings.pools)
    unnamed = settings.model_copy(update={"pools": pools})
    with pytest.raises(ConfigurationError, match="--config"):
        await _import(database, unnamed, alias, make_folder())
