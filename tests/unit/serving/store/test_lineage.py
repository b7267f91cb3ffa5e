"""Lineage: one query says which rows and people made a release, and who let it serve."""

from typing import Any

from sqlmodel.ext.asyncio.session import AsyncSession

from serving.settings import Settings
from serving.store.aliases import create_alias, id_of
from serving.store.database import Database
from serving.store.evaluations import create_set, save_evaluation
from serving.store.learning import (
    Action,
    Dataset,
    DatasetRow,
    Decision,
    ExampleRow,
    Import,
    Part,
    Run,
    RunState,
    Source,
    Split,
    Trigger,
)
from serving.store.lineage import LineageRows, list_lineage, read_lineage
from serving.store.paging import WHOLE, Page
from serving.store.releases import create_release
from serving.store.tables import Alias, Promotion, Release, utc_now
from serving.types import Task


async def make_alias(session: AsyncSession, settings: Settings) -> Alias:
    """Make an alias."""
    return await create_alias(
        session, settings, name="triage", tenant="default", task=Task.CLASSIFY
    )


async def learn(session: AsyncSession, alias: Alias) -> Dataset:
    """Make a dataset of two imported rows of one file and one correction."""
    file = Import(
        alias_id=id_of(alias),
        split=Split.TRAIN,
        name="old.jsonl",
        digest="d",
        num_rows=3,
        actor="k",
    )
    dataset = Dataset(
        alias_id=id_of(alias),
        digest="d",
        num_train=3,
        num_valid=0,
        manifest={"dropped": {"duplicate": 1}},
    )
    session.add_all([file, dataset])
    await session.flush()
    assert dataset.id is not None
    rows = [
        ExampleRow(
            alias_id=id_of(alias),
            import_id=file.id,
            position=position,
            content={},
            content_hash="h",
            at=utc_now(),
        )
        for position in range(2)
    ]
    session.add_all(rows)
    await session.flush()
    origins = [(Source.IMPORT, str(row.id), None) for row in rows]
    origins.append((Source.CORRECTION, "an-inference", "ada"))
    session.add_all(
        DatasetRow(
            dataset_id=dataset.id,
            position=position,
            part=Part.TRAIN,
            source=source,
            source_id=source_id,
            content_hash="h",
            reviewer=reviewer,
        )
        for position, (source, source_id, reviewer) in enumerate(origins)
    )
    return dataset


async def train(session: AsyncSession, release: Release, dataset: Dataset) -> Run:
    """Make the run that made a release of a dataset."""
    run = Run(
        alias_id=release.alias_id,
        trigger=Trigger.QUALITY,
        reason="Quality fell.",
        actor="worker",
        state=RunState.PASSED,
        dataset_id=dataset.id,
        release_id=release.id,
        verdict={"reason": "better"},
    )
    session.add(run)
    await session.flush()
    return run


async def test_a_release_tells_what_made_it(database: Database, settings: Settings) -> None:
    """File, inference, reviewer, policy, verdict, score and promotion: all in one answer."""
    async with database.session() as session:
        alias = await make_alias(session, settings)
        release = await create_release(session, alias, pool="small")
        dataset = await learn(session, alias)
        run = await train(session, release, dataset)
        session.add(
            Decision(
                alias_id=id_of(alias),
                action=Action.TRAIN,
                reason="Quality fell.",
                evidence={"num_down": 40},
                last_reason="Quality fell.",
                last_evidence={"num_down": 40},
                last_at=utc_now(),
                run_id=run.id,
            )
        )
        held = await create_set(
            session, id_of(alias), dated_at=utc_now(), num_items=2, digest="e", origin="new.jsonl"
        )
        await save_evaluation(
            session,
            set_id=id_of(held),
            release_id=id_of(release),
            run_id=run.id,
            summary={"score": 0.5},
            scores=[0, 1],
        )
        session.add(
            Promotion(
                alias_id=id_of(alias),
                from_release_id=alias.champion_id,
                to_release_id=id_of(release),
                reason="better",
                actor=f"run {run.id}",
                revision=1,
            )
        )
    async with database.session() as session:
        found = await read_lineage(session, id_of(release))
    assert found["run"]["verdict"] == {"reason": "better"}
    assert found["decision"]["evidence"] == {"num_down": 40}
    assert found["dataset"]["dropped"] == {"duplicate": 1}
    assert found["sources"] == [
        {"source": "correction", "num_rows": 1},
        {"source": "import", "num_rows": 2},
    ]
    assert (found["num_imports"], found["num_raters"]) == (1, 0)
    assert (found["num_reviewers"], found["num_inferences"]) == (1, 1)
    assert [score["summary"] for score in found["evaluations"]] == [{"score": 0.5}]
    assert [(flip["from"], flip["actor"]) for flip in found["promotions"]] == [(1, f"run {run.id}")]


async def test_a_release_of_nobodys_run_has_an_empty_lineage(
    database: Database, settings: Settings
) -> None:
    """What was imported or is the base was learned from nothing that we know."""
    async with database.session() as session:
        alias = await make_alias(session, settings)
        assert alias.champion_id is not None
        found = await read_lineage(session, alias.champion_id)
        listed = [await list_lineage(session, alias.champion_id, rows) for rows in LineageRows]
    assert (found["run"], found["dataset"], found["decision"]) == (None, None, None)
    assert all(value in ([], 0) for value in found.values() if value is not None)
    assert listed == [([], None)] * len(LineageRows)


async def test_whose_rows_they_were_comes_by_the_page(
    database: Database, settings: Settings
) -> None:
    """As many as are asked for, and a cursor that leads to the others, until there are none."""
    async with database.session() as session:
        alias = await make_alias(session, settings)
        release = await create_release(session, alias, pool="small")
        dataset = await learn(session, alias)
        await train(session, release, dataset)
        session.add_all(
            DatasetRow(
                dataset_id=id_of(dataset),
                position=position,
                part=Part.TRAIN,
                source=Source.DEMONSTRATION,
                source_id=f"inference {position}",
                content_hash="h",
                rater=rater,
                reviewer="ada",
            )
            for position, rater in enumerate(["bo", "cy", "bo"], start=3)
        )
    async with database.session() as session:
        (file,), _ = await list_lineage(session, id_of(release), LineageRows.IMPORTS)
        whole = {
            rows: await list_lineage(session, id_of(release), rows, WHOLE) for rows in LineageRows
        }
        for rows, (listed, cursor) in whole.items():
            assert cursor is None
            assert await by_ones(session, id_of(release), rows) == listed
    assert (file["file"], file["num_rows"]) == ("old.jsonl", 2)
    assert whole[LineageRows.RATERS][0] == [
        {"rater": "bo", "num_rows": 2},
        {"rater": "cy", "num_rows": 1},
    ]
    assert whole[LineageRows.REVIEWERS][0] == [{"reviewer": "ada", "num_rows": 4}]
    assert len(whole[LineageRows.INFERENCES][0]) == 4


async def by_ones(
    session: AsyncSession, release_id: int, rows: LineageRows
) -> list[dict[str, Any]]:
    """Read a list in pages of one row."""
    listed: list[dict[str, Any]] = []
    page = Page(limit=1)
    while True:
        found, cursor = await list_lineage(session, release_id, rows, page)
        listed += found
        if cursor is None:
            return listed
        page = Page(limit=1, cursor=cursor)
