"""What made a release, in one query: rows, people, policy, scores and flips."""

from typing import Any

from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

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
    'imports', (SELECT coalesce(json_agg(found), '[]') FROM (
        SELECT import.id, import.name AS file, import.digest, import.actor, import.at,
            count(*) AS num_rows
        FROM part
        JOIN strop_example AS example ON example.id = CASE part.source
            WHEN 'import' THEN part.source_id::integer END
        JOIN strop_import AS import ON import.id = example.import_id
        GROUP BY import.id ORDER BY import.id
    ) AS found),
    'raters', (SELECT coalesce(json_agg(found), '[]') FROM (
        SELECT rater, count(*) AS num_rows FROM part WHERE rater IS NOT NULL
        GROUP BY rater ORDER BY rater
    ) AS found),
    'reviewers', (SELECT coalesce(json_agg(found), '[]') FROM (
        SELECT reviewer, count(*) AS num_rows FROM part WHERE reviewer IS NOT NULL
        GROUP BY reviewer ORDER BY reviewer
    ) AS found),
    'inferences', (SELECT coalesce(json_agg(found), '[]') FROM (
        SELECT source_id AS id, source, rater, reviewer FROM part WHERE source <> 'import'
        ORDER BY position
    ) AS found),
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


async def read_lineage(session: AsyncSession, release_id: int) -> dict[str, Any]:
    """Return what made a release.

    Returns:
        `run`, the `decision` that began it and its `dataset`, each None where there is none; by
        number of rows `sources`, `imports`, `raters` and `reviewers`; the `inferences` that it
        learned from or was validated on; its `evaluations`; the `promotions` that made it the
        champion.
    """
    found: dict[str, Any] = await session.scalar(_QUERY, {"release_id": release_id})
    return found
