"""Work asked for over HTTP that is done by programs of their own, which outlive no server."""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, Process
from typing import Self


class Beside:
    """Runs commands of ``shiplock`` beside the server, and ends what still runs when the server stops."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._running: dict[tuple[str, ...], Process] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        for process in self._running.values():
            if process.returncode is None:
                process.terminate()
        for process in self._running.values():
            await process.wait()

    async def run(self, *command: str) -> None:
        """See to it that a command runs; nothing comes of it where this server runs it already."""
        now = self._running.get(command)
        if now is not None and now.returncode is None:
            return
        self._running[command] = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "api.cli", *command),
            stdin=DEVNULL,
            stdout=DEVNULL,
            env=os.environ | {"SHIPLOCK_DATABASE_URL": self._url},
            start_new_session=True,
        )
