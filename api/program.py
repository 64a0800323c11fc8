"""The composition root: builds the running program from its settings and takes it down in order."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Self

from api.workers import Start
from domain.rules.ruleset import RuleBook
from infrastructure.access.administration import Administration
from infrastructure.access.doorkeeper import opened_installation
from infrastructure.audit.archive import Archive
from infrastructure.commands.attempt import Render
from infrastructure.commands.committer import CommandPath
from infrastructure.commands.intents import CommandIntent, Outcome
from infrastructure.commands.preview import Preview
from infrastructure.database.embedded import EmbeddedServer
from infrastructure.database.migrate import is_current, migrate
from infrastructure.database.pool import Pool, connection_pool
from infrastructure.imports.batches import Submit
from infrastructure.jobs import kinds
from infrastructure.jobs.runner import Runner
from infrastructure.log.log import is_distributed
from infrastructure.projections.rebuild import prepare
from infrastructure.queries.related_facts import read_related_facts
from infrastructure.queries.whole_shop import WholeShopFolds
from infrastructure.runtime import clock
from infrastructure.runtime.processes import Wake
from infrastructure.runtime.settings import Settings

log = logging.getLogger("shiplock")

API_CONNECTIONS = 16
SUPERVISION_SECONDS = 1.0


@contextmanager
def database(settings: Settings, *, up_to_date: bool = True) -> Iterator[str]:
    """The URL of the database, started if it is the embedded one, migrated if asked."""
    with contextlib.ExitStack() as stack:
        url = settings.database_url
        if url is None:
            server = stack.enter_context(EmbeddedServer.start(settings.data_dir))
            stack.enter_context(_supervised(server))
            url = server.url
        if up_to_date and not is_current(url):
            migrate(url)
        yield url


def prepare_owner(url: str, settings: Settings) -> bool:
    """On an installation that has no operator yet, make the owner and write its key to a file.

    Returns whether it was made now. Raises ``OwnerKeyNotWritten``.
    """
    with opened_installation(url) as installation:
        try:
            return Administration(installation, url).prepare(settings.owner_key_file)
        except OSError as error:
            raise OwnerKeyNotWritten(f"The owner's key can't be written: {error}") from error


def enrol(url: str, shop_id: str) -> None:
    """Enrol a shop with the default merchant, unless it is enrolled already."""
    with opened_installation(url) as installation:
        Administration(installation, url).enrol(shop_id)


class OwnerKeyNotWritten(RuntimeError):
    """Without the owner's key nobody could use the program, so it does not start."""


@contextmanager
def _supervised(server: EmbeddedServer) -> Iterator[None]:
    """Start the embedded server again should it die."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(SUPERVISION_SECONDS):
            try:
                server.ensure_running()
            except Exception:
                log.exception("the embedded database could not be started again")

    thread = threading.Thread(target=watch, name="database supervisor", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _no_receipts(intent: CommandIntent, outcome: Outcome) -> bytes:
    raise NotImplementedError("this program was started without anything that makes receipts")


@dataclass
class Program:
    """What routes and commands work with."""

    url: str
    book: RuleBook
    pool: Pool
    commands: CommandPath
    jobs: Runner
    archive: Archive | None
    closing: asyncio.Event
    whole_shops: WholeShopFolds = field(default_factory=WholeShopFolds)

    @classmethod
    @asynccontextmanager
    async def running(
        cls,
        url: str,
        book: RuleBook,
        *,
        worker: Start | None,
        archive: Archive | None = None,
        checkpoint_seconds: int = 0,
        render: Render = _no_receipts,
    ) -> AsyncIterator[Self]:
        """The program on a migrated database; with a live worker, if one is given to start, it runs jobs too.

        Proofs come from ``archive``, which gets new checkpoints every so many seconds; none where that is 0.
        ``render`` makes the response that the receipt of an idempotency key keeps; without it there are no keys.
        """
        async with AsyncExitStack() as stack:
            pool = connection_pool(url, size=API_CONNECTIONS)
            await stack.enter_async_context(pool)
            await prepare(pool, url, book)
            async with pool.read() as connection:
                distributed = await is_distributed(connection)
            wake: Wake = stack.enter_context(worker(url, book)) if worker else lambda: None
            commands = CommandPath(
                pool,
                book,
                clock.now,
                render=render,
                on_commit=wake,
                together=not distributed,
                read_related_facts=read_related_facts,
            )
            await stack.enter_async_context(commands)
            jobs = kinds.runner(pool, url, book, archive, checkpoint_seconds)
            if worker:
                stack.push_async_callback(asyncio.wait, [asyncio.create_task(jobs.run())])
            stack.callback(jobs.stop)
            program = cls(url, book, pool, commands, jobs, archive, asyncio.Event())
            stack.callback(program.closing.set)
            yield program

    def submitter(self, *, dry_run: bool) -> Submit:
        """Where an import sends its intents: to the command path, or to a preview that appends nothing."""
        if dry_run:
            return Preview(self.pool, self.book, clock.now, read_related_facts).submit
        return self.commands.submit
