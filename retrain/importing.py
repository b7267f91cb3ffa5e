"""Curated files into the database: training rows, and dated revisions of the evaluation set."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from sqlmodel import col, func, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from retrain.examples import Example, content_of, parse_examples
from retrain.gate import MIN_ITEMS
from serving.errors import InvalidRequestError
from serving.settings import Settings
from serving.store.aliases import id_of
from serving.store.evaluations import create_set, newest_set
from serving.store.learning import EvaluationSet, ExampleRow, Import, Split
from serving.store.tables import Alias, utc_now


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import came to, and what is still missing."""

    num_rows: int
    evaluation_set: EvaluationSet | None
    num_training_rows: int
    """Of the alias, this import's included, before cleaning."""
    missing: tuple[str, ...]
    """What training and a gate still need, in words; empty: nothing."""


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
        replaces: earlier training rows of the alias's imports no longer train. Evaluation
            revisions always take their predecessor's place, and keep it.

    Raises:
        InvalidRequestError: the file cannot be read, or a line is wrong; lines are named.
    """
    content = _read(path)
    examples = parse_examples(content.splitlines(), path.name)
    now = utc_now()
    if replaces and split is Split.TRAIN:
        await _retire_training_rows(session, alias, now)
    record = Import(
        alias_id=id_of(alias),
        split=split,
        name=path.name,
        digest=sha256(content).hexdigest(),
        num_rows=len(examples),
        actor=actor,
        at=now,
    )
    session.add(record)
    await session.flush()
    made = (
        await add_evaluation_set(session, alias, examples, path.name) if _is_eval(split) else None
    )
    if made is None:
        session.add_all(_rows(examples, id_of(alias), now, import_id=record.id))
    await session.flush()
    return await _sum_up(session, settings, alias, len(examples), made)


async def add_evaluation_set(
    session: AsyncSession, alias: Alias, examples: Sequence[Example], origin: str
) -> EvaluationSet:
    """Add a revision with its items. It is dated by its oldest item."""
    now = utc_now()
    made = await create_set(
        session,
        id_of(alias),
        dated_at=min(example.at or now for example in examples),
        num_items=len(examples),
        digest=digest_of(examples),
        origin=origin,
    )
    session.add_all(_rows(examples, id_of(alias), now, evaluation_set_id=made.id))
    await session.flush()
    return made


def digest_of(examples: Sequence[Example]) -> str:
    """Return what identifies a sequence of examples: SHA-256, hexadecimal."""
    return sha256("".join(example.content_hash for example in examples).encode()).hexdigest()


def _is_eval(split: Split) -> bool:
    return split is Split.EVAL


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidRequestError(f"{path} cannot be read: {error.strerror}.") from error


def _rows(
    examples: Sequence[Example],
    alias_id: int,
    now: datetime,
    *,
    import_id: int | None = None,
    evaluation_set_id: int | None = None,
) -> list[ExampleRow]:
    return [
        ExampleRow(
            alias_id=alias_id,
            import_id=import_id,
            evaluation_set_id=evaluation_set_id,
            position=position,
            content=content_of(example),
            content_hash=example.content_hash,
            at=example.at or now,
        )
        for position, example in enumerate(examples)
    ]


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
    num_rows: int,
    made: EvaluationSet | None,
) -> Imported:
    current = made or await newest_set(session, id_of(alias))
    num_training = await _count_training_rows(session, alias)
    return Imported(
        num_rows=num_rows,
        evaluation_set=made,
        num_training_rows=num_training,
        missing=tuple(_missing(settings, num_training, current)),
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


def _missing(settings: Settings, num_training: int, current: EvaluationSet | None) -> list[str]:
    needed = settings.learning.min_examples - num_training
    missing = [f"{needed} more training rows to train"] if needed > 0 else []
    if current is None:
        missing.append(
            f"an evaluation set of {MIN_ITEMS} rows for the gate, or {MIN_ITEMS} more training "
            "rows to hold back"
        )
    elif current.num_items < MIN_ITEMS:
        missing.append(f"{MIN_ITEMS - current.num_items} more rows in the evaluation set")
    return missing
