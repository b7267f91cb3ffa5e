"""May a release take over without force? Only if its run's gate passed it against who serves now."""

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from serving.errors import InvalidRequestError
from serving.store.learning import ACTIVE, Run, RunState
from serving.store.releases import get_release
from serving.store.tables import Alias, Release

_CODE = "gate_not_passed"
_EITHER = "Train another one, or use --force --reason."


async def require_passed(session: AsyncSession, alias: Alias, release: Release) -> None:
    """Let a release pass that the gate found better than the present champion.

    The alias has to be locked, so that its champion stays who it is.

    Raises:
        InvalidRequestError: no run made it, its gate has not passed it, or not against the present
            champion; says the verdict's numbers.
    """
    run = await _find_run(session, release)
    if run is None:
        raise InvalidRequestError(
            f"Release {release.number} of {alias.name!r} was made by no training run, so no gate "
            "has judged it. Use --force --reason to promote it all the same.",
            code="force_required",
        )
    if run.state in ACTIVE:
        raise InvalidRequestError(
            f"Run {run.id} is still {run.state} release {release.number}: `strop runs show "
            f"{run.id}` tells how far it is.",
            code=_CODE,
        )
    if run.state is not RunState.PASSED:
        raise InvalidRequestError(
            f"Run {run.id} made release {release.number} and ended as {run.state}: {_why(run)} "
            f"{_EITHER}",
            code=_CODE,
        )
    if run.champion_id != alias.champion_id:
        raise InvalidRequestError(await _stale(session, alias, run), code=_CODE)


async def _find_run(session: AsyncSession, release: Release) -> Run | None:
    query = select(Run).where(Run.release_id == release.id).order_by(col(Run.id).desc())
    return (await session.exec(query)).first()


async def _stale(session: AsyncSession, alias: Alias, run: Run) -> str:
    assert run.champion_id is not None
    assert alias.champion_id is not None
    judged = await get_release(session, run.champion_id)
    present = await get_release(session, alias.champion_id)
    return (
        f"Run {run.id} passed against release {judged.number} ({_why(run)}), and release "
        f"{present.number} serves now. {_EITHER}"
    )


def _why(run: Run) -> str:
    verdict = run.verdict or {}
    return str(verdict.get("reason") or run.error or "no reason was kept.")
