"""Rebuilds asked for over HTTP: each is worked on by a program of its own, which outlives no server."""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, Process
from typing import Self

from infrastructure.database.pool import Pool
from infrastructure.projections import builds


class Rebuilds:
    """Starts ``shiplock projections resume`` for builds, and ends what still runs when the server stops."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._running: dict[int, Process] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        for process in self._running.values():
            if process.returncode is None:
                process.terminate()
        for process in self._running.values():
            await process.wait()

    async def work_on(self, build_id: int) -> None:
        """See to it that somebody works on a build; where somebody does already, nothing comes of it."""
        now = self._running.get(build_id)
        if now is not None and now.returncode is None:
            return
        self._running[build_id] = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "api.cli", "projections", "resume", str(build_id), "--quiet"),
            stdin=DEVNULL,
            stdout=DEVNULL,
            env=os.environ | {"SHIPLOCK_DATABASE_URL": self._url},
            start_new_session=True,
        )

    async def go_on(self, pool: Pool) -> None:
        """Work on what was left unfinished when a program was killed."""
        async with pool.connection() as connection:
            left = [build for build in await builds.every(connection) if build.state not in ("ready", "failed")]
        for build in left:
            await self.work_on(build.id)
