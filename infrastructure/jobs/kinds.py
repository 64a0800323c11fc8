"""Which kinds of jobs there are, and who runs them."""

from domain.rules.ruleset import RuleBook
from infrastructure.audit.archive import Archive
from infrastructure.database.pool import Pool
from infrastructure.jobs import checkpoints, tidying
from infrastructure.jobs.backtests import BACKTEST
from infrastructure.jobs.kind import JobKind
from infrastructure.jobs.rebuilds import REBUILD
from infrastructure.jobs.runner import Runner, Schedule
from infrastructure.jobs.tidying import TIDYING

JOB_KINDS: dict[str, JobKind] = {kind.name: kind for kind in (REBUILD, BACKTEST, TIDYING)}
"""Those that every program can do which serves or works. Checkpoints are made by who has an archive."""


def runner(
    pool: Pool, url: str, book: RuleBook, archive: Archive | None = None, checkpoint_seconds: int = 0
) -> Runner:
    """What runs jobs in a program; an archive gets checkpoints every so many seconds, none where that is 0."""
    kinds = [*JOB_KINDS.values()]
    schedules = [Schedule(TIDYING.name, tidying.EVERY_SECONDS)]
    only = {}
    if archive and checkpoint_seconds:
        place = checkpoints.place_of(archive)
        kinds.append(checkpoints.checkpoints_into(archive))
        schedules.append(Schedule(checkpoints.NAME, checkpoint_seconds, place))
        only[checkpoints.NAME] = place
    return Runner(pool, url, book, kinds, schedules=schedules, only=only)
