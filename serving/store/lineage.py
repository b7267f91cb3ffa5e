"""What made a release: policy, scores, flips and counts in one query; by the page whose rows they were."""

from enum import StrEnum
from typing import Any

from sqlalchemy import text
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from serving.store.learning import Run
from serving.store.paging import WHOLE, Page

# `run` is the one that made the release; `part` are its dataset's rows: to train and to validate.
_QUERY = text(
    """
WITH run AS (
    SELECT * FROM strop_run WHERE release_id = :release_id ORDER BY id DESC LIMIT 1
), part AS (
    SELECT dataset_row.* FROM strop_dataset_row AS dataset_row
    JOIN run ON run.dataset_id = dataset_row.dataset_id
)
SELECT json_build_object(
    'run', (SELECT json_build_object(
        'id', id, 'trigger', trigger, 'period', period, 'reason', reason, 'actor', actor,
        'state', state, 'verdict', verdict, 'started_at', started_at, 'ended_at', ended_at
    ) FROM run),
    'decision', (SELECT json_build_object(
        'action', action, 'reason', decision.reason, 'evidence', evidence, 'at', at
    ) FROM strop_decision AS decision JOIN run ON run.id = decision.run_id
    ORDER BY decision.id LIMIT 1),
    'dataset', (SELECT json_build_object(
        'id', dataset.id, 'digest', digest, 'num_train', num_train, 'num_valid', num_valid,
        'dropped', manifest -> 'dropped', 'created_at', dataset.created_at
    ) FROM strop_dataset AS dataset JOIN run ON run.dataset_id = dataset.id),
    'sources', (SELECT coalesce(json_agg(found), '[]') FROM (
        SELECT source, count(*) AS num_rows FROM part GROUP BY source ORDER BY source
    ) AS found),
    'num_imports', (SELECT count(DISTINCT example.import_id) FROM part
        JOIN strop_example AS example ON example.id = CASE part.source
            WHEN 'import' THEN part.source_id::integer END),
    'num_raters', (SELECT count(DISTINCT rater) FROM part),
    'num_reviewers', (SELECT count(DISTINCT reviewer) FROM part),
    'num_inferences', (SELECT count(*) FROM part WHERE source <> 'import'),
    'evaluations', (SELECT coalesce(json_agg(found), '[]') FROM (
        SELECT held.number AS evaluation_set, held.origin, held.digest, evaluation.summary,
            evaluation.at
        FROM strop_evaluation AS evaluation
        JOIN strop_evaluation_set AS held ON held.id = evaluation.evaluation_set_id
        WHERE evaluation.release_id = :release_id ORDER BY evaluation.id
    ) AS found),
    'promotions', (SELECT coalesce(json_agg(found), '[]') FROM (
        SELECT old.number AS "from", is_rollback, is_forced, reason, actor, at
        FROM strop_promotion AS promotion
        LEFT JOIN strop_release AS old ON old.id = promotion.from_release_id
        WHERE promotion.to_release_id = :release_id ORDER BY promotion.id
    ) AS found)
)
"""
)


class LineageRows(StrEnum):
    """What a release's rows can be listed by."""

    IMPORTS = "imports"
    RATERS = "raters"
    REVIEWERS = "reviewers"
    INFERENCES = "inferences"


# Each with the key that a page begins behind, and what is before the first of them.
_ROWS = {
    LineageRows.IMPORTS: (
        text(
            """
SELECT import.id, json_build_object('id', import.id, 'file', import.name, 'digest', import.digest,
    'actor', import.actor, 'at', import.at, 'num_rows', count(*))
FROM strop_dataset_row AS part
JOIN strop_example AS example ON example.id = CASE part.source
    WHEN 'import' THEN part.source_id::integer END
JOIN strop_import AS import ON import.id = example.import_id
WHERE part.dataset_id = :dataset_id AND import.id > :last
GROUP BY import.id ORDER BY import.id LIMIT :limit
"""
        ),
        0,
    ),
    LineageRows.RATERS: (
        text(
            """
SELECT rater, json_build_object('rater', rater, 'num_rows', count(*)) FROM strop_dataset_row
WHERE dataset_id = :dataset_id AND rater > :last GROUP BY rater ORDER BY rater LIMIT :limit
"""
        ),
        "",
    ),
    LineageRows.REVIEWERS: (
        text(
            """
SELECT reviewer, json_build_object('reviewer', reviewer, 'num_rows', count(*))
FROM strop_dataset_row
WHERE dataset_id = :dataset_id AND reviewer > :last
GROUP BY reviewer ORDER BY reviewer LIMIT :limit
"""
        ),
        "",
    ),
    LineageRows.INFERENCES: (
        text(
            """
SELECT position, json_build_object('id', source_id, 'source', source, 'rater', rater,
    'reviewer', reviewer)
FROM strop_dataset_row
WHERE dataset_id = :dataset_id AND source <> 'import' AND position > :last
ORDER BY position LIMIT :limit
"""
        ),
        -1,
    ),
}


async def read_lineage(session: AsyncSession, release_id: int) -> dict[str, Any]:
    """Return what made a release.

    Returns:
        `run`, the `decision` that began it and its `dataset`, each None where there is none; by
        number of rows `sources`; how many imports, raters, reviewers and inferences it learned from
        or was validated on; its `evaluations`; the `promotions` that made it the champion.
    """
    found: dict[str, Any] = await session.scalar(_QUERY, {"release_id": release_id})
    return found


async def list_lineage(
    session: AsyncSession, release_id: int, rows: LineageRows, page: Page = WHOLE
) -> tuple[list[dict[str, Any]], str | None]:
    """Return whose or which rows made a release, and the cursor that leads on.

    Raises:
        InvalidRequestError: the cursor is of no such list.
    """
    query, before_all = _ROWS[rows]
    last = page.cursor if isinstance(before_all, str) else page.last_id
    run = select(Run.dataset_id).where(Run.release_id == release_id).order_by(col(Run.id).desc())
    values = {
        "dataset_id": (await session.exec(run.limit(1))).first(),
        "last": before_all if last is None else last,
        "limit": page.limit,
    }
    listed = (await (await session.connection()).execute(query, values)).all()
    return [row for _, row in listed], page.next_after([key for key, _ in listed])
