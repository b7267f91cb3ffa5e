"""Curated files into the database: training rows, and dated revisions of the evaluation set."""

import asyncio
import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from sqlmodel import col, func, insert, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from retrain.collect import leave_out_learnt
from retrain.examples import Example, content_of, parse_examples
from retrain.split import MIN_TEST_ITEMS, num_rows_needed
from serving.errors import InvalidRequestError
from serving.settings import Settings
from serving.store.aliases import id_of
from serving.store.evaluations import create_set, lock_material, newest_set
from serving.store.learning import EvaluationSet, ExampleRow, Import, Split
from serving.store.tables import Alias, utc_now


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import came to, and what is still missing."""

    num_rows: int
    num_repeated: int
    """Rows of an evaluation file that say what another says; they count once."""
    num_learnt: int
    """Rows of an evaluation file that a serving release was trained on; they are left out."""
    evaluation_set: EvaluationSet | None
    num_training_rows: int
    """Of the alias, this import's included, before cleaning."""
    missing: tuple[str, ...]
    """What training and a gate still need, in words; empty: nothing."""


@dataclass(frozen=True, slots=True)
class _Sifted:
    """What of a file's rows is kept."""

    kept: Sequence[Example]
    num_repeated: int = 0
    num_learnt: int = 0


async def import_file(
    session: AsyncSession,
    settings: Settings,
    alias: Alias,
    path: Path,
    split: Split,
    *,
    actor: str,
    replaces: bool = False,
) -> Imported:
    """Import a JSONL file whole, or refuse it whole.

    Args:
        split: `train` adds training rows; `eval` makes a new, immutable evaluation revision.
        replaces: earlier training rows of the alias's imports no longer train.

    Raises:
        InvalidRequestError: the file cannot be read; a line is wrong (lines are named); a serving
            release was trained on all items of an evaluation file; `replaces` with `eval`.
    """
    if replaces and split is Split.EVAL:
        raise InvalidRequestError(
            "Evaluation sets are not replaced: each file is a new revision, and old ones "
            "keep out of training what they hold. Leave out --replace.",
            param="replace",
        )
    content = await asyncio.to_thread(_read, path)
    name = _printable(path.name)
    examples = await asyncio.to_thread(parse_examples, content.splitlines(), name)
    await lock_material(session, id_of(alias))
    now = utc_now()
    if replaces:
        await _retire_training_rows(session, alias, now)
    sifted = _Sifted(examples)
    if split is Split.EVAL:
        sifted = await _sift(session, alias, examples, name)
    record = Import(
        alias_id=id_of(alias),
        split=split,
        name=name,
        digest=sha256(content).hexdigest(),
        num_rows=len(sifted.kept),
        actor=actor,
        at=now,
    )
    session.add(record)
    await session.flush()
    made = None
    if split is Split.EVAL:
        made = await add_evaluation_set(session, alias, sifted.kept, name, import_id=record.id)
    else:
        await _add_rows(session, alias, sifted.kept, now, import_id=record.id)
    return await _sum_up(session, settings, alias, made, sifted)


async def add_evaluation_set(
    session: AsyncSession,
    alias: Alias,
    examples: Sequence[Example],
    origin: str,
    *,
    import_id: int | None = None,
) -> EvaluationSet:
    """Add a revision with its items, the alias's material locked. Its oldest item dates it."""
    now = utc_now()
    made = await create_set(
        session,
        id_of(alias),
        dated_at=min(example.at or now for example in examples),
        num_items=len(examples),
        digest=digest_of(examples),
        origin=origin,
    )
    await _add_rows(session, alias, examples, now, import_id=import_id, evaluation_set_id=made.id)
    return made


def digest_of(examples: Sequence[Example]) -> str:
    """Return what identifies a sequence of examples: SHA-256, hexadecimal."""
    return sha256("".join(example.content_hash for example in examples).encode()).hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise InvalidRequestError(f"{path} cannot be read: {error.strerror}.") from error


def _printable(name: str) -> str:
    """Return a file's name as the database can keep it: file systems allow any bytes."""
    return name.encode("utf-8", "replace").decode()


async def _sift(
    session: AsyncSession, alias: Alias, examples: Sequence[Example], name: str
) -> _Sifted:
    """Take each item of an evaluation file once, and none that a serving release has learnt.

    Raises:
        InvalidRequestError: nothing is left.
    """
    once = list({example.content_hash: example for example in examples}.values())
    kept = await leave_out_learnt(session, alias, once)
    if not kept:
        raise InvalidRequestError(
            f"{name} was not imported: the release that serves was trained on each of its rows, so "
            "they judge nothing. Bring rows that it has not seen.",
            code="bad_rows",
        )
    return _Sifted(kept, len(examples) - len(once), len(once) - len(kept))


async def _add_rows(
    session: AsyncSession,
    alias: Alias,
    examples: Sequence[Example],
    now: datetime,
    *,
    import_id: int | None,
    evaluation_set_id: int | None = None,
) -> None:
    rows = [
        {
            "alias_id": alias.id,
            "import_id": import_id,
            "evaluation_set_id": evaluation_set_id,
            "position": position,
            "content": content_of(example),
            "content_hash": example.content_hash,
            "at": example.at or now,
        }
        for position, example in enumerate(examples)
    ]
    await session.exec(insert(ExampleRow), params=rows)


async def _retire_training_rows(session: AsyncSession, alias: Alias, now: datetime) -> None:
    await session.exec(
        update(Import)
        .where(
            col(Import.alias_id) == alias.id,
            col(Import.split) == Split.TRAIN,
            col(Import.replaced_at).is_(None),
        )
        .values(replaced_at=now)
    )


async def _sum_up(
    session: AsyncSession,
    settings: Settings,
    alias: Alias,
    made: EvaluationSet | None,
    sifted: _Sifted,
) -> Imported:
    num_training = await _count_training_rows(session, alias)
    has_gate_set = await newest_set(session, id_of(alias), MIN_TEST_ITEMS) is not None
    return Imported(
        num_rows=len(sifted.kept),
        num_repeated=sifted.num_repeated,
        num_learnt=sifted.num_learnt,
        evaluation_set=made,
        num_training_rows=num_training,
        missing=missing_for_training(
            num_training, settings.learning.min_examples, has_gate_set=has_gate_set
        ),
    )


async def _count_training_rows(session: AsyncSession, alias: Alias) -> int:
    query = (
        select(func.count())
        .select_from(ExampleRow)
        .join(Import, col(Import.id) == ExampleRow.import_id)
        .where(
            ExampleRow.alias_id == alias.id,
            col(ExampleRow.evaluation_set_id).is_(None),
            col(Import.replaced_at).is_(None),
        )
    )
    return (await session.exec(query)).one()


def missing_for_training(
    num_rows: int, min_examples: int, *, has_gate_set: bool
) -> tuple[str, ...]:
    """Return in words what training and a gate still need, if no row is dropped in cleaning."""
    short = num_rows_needed(min_examples, wants_test=False) - num_rows
    if has_gate_set:
        return (f"{short} more training rows",) if short > 0 else ()
    held_back = num_rows_needed(min_examples, wants_test=True) - num_rows
    if held_back <= 0:
        return ()
    gate = (
        f"an evaluation set of {MIN_TEST_ITEMS} rows for the gate (or {held_back} more training "
        f"rows, of which {MIN_TEST_ITEMS} are held back)"
    )
    return (f"{short} more training rows", gate) if short > 0 else (gate,)
