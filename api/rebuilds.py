"""Rebuilds asked for over HTTP."""

from api.beside import Beside
from infrastructure.database.pool import Pool
from infrastructure.projections import builds


class Rebuilds:
    """Has ``shiplock projections resume`` work on builds."""

    def __init__(self, beside: Beside) -> None:
        self._beside = beside

    async def work_on(self, build_id: int) -> None:
        """See to it that somebody works on a build; where somebody does already, nothing comes of it."""
        await self._beside.run("projections", "resume", str(build_id), "--quiet")

    async def go_on(self, pool: Pool) -> None:
        """Work on what was left unfinished when a program was killed."""
        async with pool.connection() as connection:
            left = [build for build in await builds.every(connection) if build.state not in ("ready", "failed")]
        for build in left:
            await self.work_on(build.id)
