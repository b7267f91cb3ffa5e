"""The registry of adapters: immutable, content-addressed, checked before any engine hears of them.

    <adapter_dir>/<alias>-v<N>-<digest8>/
        adapter_config.json
        adapter_model.safetensors
        manifest.json               SHA-256 of every file, whose it is, what it is for

The digest is the manifest's SHA-256. A folder is written under a name that begins with a dot and
renamed when it is whole and on disk: whatever has its proper name can be loaded.
"""

import asyncio
import hashlib
import json
import os
import shutil
import stat
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy.exc import IntegrityError
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from serving.errors import (
    ConfigurationError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    UnavailableError,
)
from serving.fleet.adapter_check import CONFIG, MANIFEST, WEIGHTS, check_copy, check_listing
from serving.fleet.tensors import read_base_shapes
from serving.publish import publish
from serving.sections import PoolSettings
from serving.settings import Settings
from serving.store.aliases import id_of, lock_alias
from serving.store.releases import create_release, get_release
from serving.store.tables import Adapter, Alias, Release
from serving.types import PoolKind

_DRAFT: Final = ".draft-"
_ABANDONED_SECONDS: Final = 3600.0
_BLOCK: Final = 2**20


@dataclass(frozen=True, slots=True)
class _Draft:
    """A checked copy that has no name yet."""

    folder: Path
    rank: int
    files: dict[str, str]
    """Name -> SHA-256, hexadecimal."""
    num_bytes: int


async def import_adapter(
    session: AsyncSession, settings: Settings, alias: Alias, folder: Path, source: str
) -> tuple[Adapter, Release]:
    """Copy a PEFT folder into the registry and make a candidate release of it.

    The release inherits pool, system prompt and decoding of the alias's champion.

    Args:
        folder: what PEFT's `save_pretrained` wrote; it is not changed.
        source: where it came from, for people.

    Raises:
        InvalidRequestError: it cannot be served; names the file or the tensor.
        ConfigurationError: the pool names no base model to check it against.
        ConflictError: another adapter has the name that it would get.
        UnavailableError: it cannot be read, or written to the registry.
    """
    champion = await _champion(session, alias)
    pool = _adapter_pool(settings, champion)
    await asyncio.to_thread(sweep_drafts, settings)
    try:
        draft = await asyncio.to_thread(_write_draft, settings, pool, folder)
        try:
            alias = await lock_alias(session, id_of(alias))
            version = await _next_version(session, alias)
            manifest = _manifest(alias, version, pool, draft)
            digest = hashlib.sha256(manifest).hexdigest()
            name = f"{alias.name}-v{version}-{digest[:8]}"
            adapter = Adapter(
                alias_id=id_of(alias),
                version=version,
                name=name,
                digest=digest,
                pool=pool.name,
                rank=draft.rank,
                num_bytes=draft.num_bytes,
                source=source,
            )
            await _register(session, adapter)
            await asyncio.to_thread(_publish, settings, draft, manifest, name)
        finally:
            await asyncio.to_thread(shutil.rmtree, draft.folder, ignore_errors=True)
    except OSError as error:
        raise UnavailableError(
            f"The adapter was not copied to {settings.adapter_dir}: {error}. "
            "Nothing is left of it; see to permissions and space, then import it again."
        ) from error
    release = await create_release(
        session,
        alias,
        pool=pool.name,
        adapter_id=adapter.id,
        system_prompt=champion.system_prompt,
        decoding=champion.decoding,
    )
    return adapter, release


async def list_adapters(
    session: AsyncSession, alias: Alias | None = None, tenant: str | None = None
) -> list[Adapter]:
    """Return every adapter, or those of one alias or tenant, oldest first."""
    query = select(Adapter).join(Alias, col(Alias.id) == Adapter.alias_id).order_by(col(Adapter.id))
    if alias is not None:
        query = query.where(Alias.id == alias.id)
    if tenant is not None:
        query = query.where(Alias.tenant == tenant)
    return list(await session.exec(query))


async def find_adapter(session: AsyncSession, name: str) -> Adapter:
    """Return the adapter of that name.

    Raises:
        NotFoundError: there is none.
    """
    adapter = (await session.exec(select(Adapter).where(Adapter.name == name))).one_or_none()
    if adapter is None:
        raise NotFoundError(f"There is no adapter {name!r}. `strop adapters list` shows all.")
    return adapter


def adapter_path(settings: Settings, pool: PoolSettings, name: str) -> str:
    """Return an adapter's folder as the pool's engines see it."""
    root = pool.adapter_root.rstrip("/") or str(settings.adapter_dir)
    return f"{root}/{name}"


def verify_adapter(settings: Settings, adapter: Adapter) -> None:
    """Compute every hash again. Reads all of the adapter: not for the event loop.

    Raises:
        ConflictError: the folder is not what was imported; names the file.
        UnavailableError: it cannot be read.
    """
    folder = settings.adapter_dir / adapter.name
    try:
        faults = _find_changes(folder, adapter.digest)
    except OSError as error:
        raise UnavailableError(
            f"Adapter {adapter.name} cannot be read: {error}. See to its permissions and the disk."
        ) from error
    for fault in faults:
        raise ConflictError(
            f"Adapter {adapter.name} is not what was imported: {fault}. "
            f"Put {folder} back from a copy, or import the adapter again.",
            code="adapter_changed",
        )


def sweep_drafts(settings: Settings, older_than_seconds: float = _ABANDONED_SECONDS) -> None:
    """Remove what an import left behind that was killed in the middle."""
    oldest = time.time() - older_than_seconds
    for draft in settings.adapter_dir.glob(f"{_DRAFT}*"):
        if draft.lstat().st_mtime < oldest:
            shutil.rmtree(draft, ignore_errors=True)


async def _champion(session: AsyncSession, alias: Alias) -> Release:
    assert alias.champion_id is not None
    return await get_release(session, alias.champion_id)


def _adapter_pool(settings: Settings, champion: Release) -> PoolSettings:
    pool = settings.pool(champion.pool)
    if pool.kind is not PoolKind.VLLM:
        raise InvalidRequestError(
            f"The alias serves from pool {pool.name!r} of kind `{pool.kind}`, which takes no "
            "adapters. Promote a release on a pool of kind `vllm` first."
        )
    if not pool.base_model:
        raise ConfigurationError(
            f"Pool {pool.name!r} names no base_model, so no adapter can be checked against it. "
            "Name the configuration that `strop up` reads (--config, $STROP_CONFIG), or set the "
            "pool's base_model."
        )
    return pool


async def _next_version(session: AsyncSession, alias: Alias) -> int:
    query = select(func.max(Adapter.version)).where(Adapter.alias_id == alias.id)
    return ((await session.exec(query)).one() or 0) + 1


async def _register(session: AsyncSession, adapter: Adapter) -> None:
    """Take its name before anything of that name is touched on disk: the folder may be another's.

    Raises:
        ConflictError: the name is taken. Its end is 32 bits of the digest.
    """
    session.add(adapter)
    try:
        await session.flush()
    except IntegrityError as error:
        raise ConflictError(
            f"The name {adapter.name} is another adapter's. Import it from a folder that differs in "
            "anything: that has another name."
        ) from error


def _write_draft(settings: Settings, pool: PoolSettings, source: Path) -> _Draft:
    """Copy first, check the copy: what was looked at is what will be served."""
    check_listing(source)
    _make_adapter_dir(settings)
    folder = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=settings.adapter_dir))
    try:
        for name in (CONFIG, WEIGHTS):
            _copy(source / name, folder / name)
        base = read_base_shapes(Path(pool.base_model))
        config = check_copy(folder, source, max_rank=pool.max_lora_rank, base=base)
        return _Draft(
            folder,
            rank=config.max_rank,
            files={name: _sha256(folder / name) for name in (CONFIG, WEIGHTS)},
            num_bytes=sum((folder / name).stat().st_size for name in (CONFIG, WEIGHTS)),
        )
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _manifest(alias: Alias, version: int, pool: PoolSettings, draft: _Draft) -> bytes:
    facts = {
        "format": 1,
        "tenant": alias.tenant,
        "alias": alias.name,
        "version": version,
        "base_model": pool.base_model,
        "rank": draft.rank,
        "files": draft.files,
    }
    return json.dumps(facts, indent=2, sort_keys=True).encode() + b"\n"


def _publish(settings: Settings, draft: _Draft, manifest: bytes, name: str) -> None:
    (draft.folder / MANIFEST).write_bytes(manifest)
    for file in draft.folder.iterdir():
        file.chmod(0o644)  # the engine may run as another user
    draft.folder.chmod(0o755)
    # There already, if an import was killed before its commit: nobody has heard of that one.
    publish(draft.folder, settings.adapter_dir / name)


def _find_changes(folder: Path, digest: str) -> list[str]:
    """Return in which ways a folder is not the one of this digest."""
    manifest = folder / MANIFEST
    if not manifest.is_file():
        return [f"{manifest} is missing"]
    if _sha256(manifest) != digest:
        return [f"{manifest} has changed"]
    files: dict[str, str] = json.loads(manifest.read_bytes())["files"]
    found = {entry.name for entry in folder.iterdir()}
    changes = [f"{name} is missing" for name in sorted(files.keys() - found)]
    changes += [f"{name} was added" for name in sorted(found - files.keys() - {MANIFEST})]
    changes += [
        f"{name} has changed"
        for name in sorted(files.keys() & found)
        if _sha256(folder / name) != files[name]
    ]
    return changes


def _make_adapter_dir(settings: Settings) -> None:
    if not settings.adapter_dir.exists():
        settings.adapter_dir.mkdir(parents=True, exist_ok=True)
        settings.adapter_dir.chmod(0o755)


def _copy(source: Path, target: Path) -> None:
    # Without following a link that was put there after the listing was checked.
    descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as reader, target.open("xb") as writer:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InvalidRequestError(f"{source} is no plain file any more. Import it again.")
        shutil.copyfileobj(reader, writer, _BLOCK)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
