"""``serve``, ``worker`` and ``db``: the commands that run and prepare the program."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Annotated, Any

import typer
import uvicorn
import uvloop

from api.cli.terminal import CommandFailed, book, err, print_json, settings
from api.program import database, prepare_owner
from infrastructure.database.migrate import applied, migrate, revisions
from infrastructure.database.pool import connection_pool
from infrastructure.jobs import kinds
from infrastructure.projections.rebuild import prepare
from infrastructure.projections.worker import Worker
from infrastructure.runtime.processes import follow_stdin

db = typer.Typer(help="The database.", no_args_is_help=True)

APP = "api.http.app:from_environment"
"""The HTTP application, by its name: the command line and HTTP are peers, neither imports the other."""

DRAIN_SECONDS = 10
SERVER: dict[str, Any] = {
    "factory": True,
    "log_level": "warning",
    "access_log": False,
    "server_header": False,
    "proxy_headers": False,
    "timeout_graceful_shutdown": DRAIN_SECONDS,
}
"""How uvicorn serves, in one process or several."""

Host = Annotated[str, typer.Option(help="The address to listen on.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on.")]


def serve(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    workers: Annotated[
        int, typer.Option(min=1, max=64, envvar="SHIPLOCK_WORKERS", help="Processes that serve requests.")
    ] = 1,
) -> None:
    """Serve the API with a live worker; without SHIPLOCK_DATABASE_URL on the embedded database."""
    leave_on_sigterm()
    check_names(host)
    book()  # rules that make no sense are said here in a sentence, not by a server that fails to start
    with database(settings()) as url:
        prepare_owner(url, settings())
        err.print(f"The owner's key is in {settings().owner_key_file}.", soft_wrap=True)
        run_server(url, host, port, workers)


def check_names(host: str) -> None:
    """Other machines reach a server under a name that it must know. Raises ``CommandFailed``."""
    if host not in _THIS_MACHINE and not settings().hosts:
        raise CommandFailed(
            f"With --host {host} other machines reach the server; say under which names in SHIPLOCK_HOSTS, such as "
            "SHIPLOCK_HOSTS=shiplock.example.com. Requests for any other name are refused."
        )


_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")


def run_server(url: str, host: str, port: int, workers: int = 1) -> None:
    """Serve until told to stop; requests under way are finished first."""
    err.print(f"Serving on http://{host}:{port} (documentation at /docs)")
    os.environ["SHIPLOCK_DATABASE_URL"] = url
    os.environ["SHIPLOCK_WORKERS"] = str(workers)
    options = SERVER | believing(settings().trusted_proxies)
    if workers > 1:
        uvicorn.run(APP, host=host, port=port, workers=workers, **options)
        return
    with suppress(KeyboardInterrupt):
        uvicorn.Server(uvicorn.Config(APP, host=host, port=port, **options)).run()


def believing(proxies: Sequence[str]) -> dict[str, Any]:
    """The options with which the server believes what these proxies say of their clients, and nobody else."""
    return {"proxy_headers": True, "forwarded_allow_ips": list(proxies)} if proxies else {"proxy_headers": False}


def worker(
    lead: Annotated[
        bool, typer.Option("--follow-stdin", help="Be woken by what comes on standard input, stop at its end.")
    ] = False,
    niceness: Annotated[int, typer.Option("--nice", min=0, max=19, help="Leave the machine to others first.")] = 0,
) -> None:
    """Keep the views current and run jobs; any number of these share the work."""
    os.nice(niceness)

    async def work(url: str) -> None:
        async with connection_pool(url, size=4) as pool:
            rules = book()
            await prepare(pool, url, rules)
            worker = Worker(pool, rules)
            if lead:  # by a server, which runs jobs itself
                stop_on_signals(worker.stop)
                follow_stdin(worker.wake, worker.stop)
                await worker.run()
                return
            jobs = kinds.runner(pool, url, rules)
            stop_on_signals(worker.stop, jobs.stop)
            err.print("Working; stop with Ctrl-C.")
            await asyncio.gather(worker.run(), jobs.run())

    with database(settings()) as url:
        uvloop.run(work(url))


def stop_on_signals(*stops: Callable[[], None]) -> None:
    """Let Ctrl-C and SIGTERM stop what runs in this event loop, in order."""

    def stop() -> None:
        for each in stops:
            each()

    for sign in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(sign, stop)


@db.command("migrate")
def migrate_database(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Bring the database's schema up to date."""
    with database(settings(), up_to_date=False) as url:
        before = applied(url)
        done = migrate(url)
    if as_json:
        print_json({"before": before, "applied": done, "revision": revisions()[-1]})
    elif done:
        err.print(f"Applied {', '.join(done)}; the database is at revision {revisions()[-1]}.")
    else:
        err.print(f"Nothing to do; the database is at revision {revisions()[-1]}.")


def leave_on_sigterm() -> None:
    """Let SIGTERM unwind the program like Ctrl-C, so that the embedded database is stopped in order."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
