"""``python -m benchmarks``: everything, on an embedded database of its own; about a quarter of an hour.

``--events`` says how large the large log is; ``--only`` measures one part; ``--json`` prints for programs.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import psycopg
from psycopg import sql
from rich.console import Console
from rich.progress import Progress

from benchmarks import appending, backtesting, growing, importing, reading, rebuilding, serving, verifying
from benchmarks.table import Result, show
from infrastructure.database.embedded import EmbeddedServer
from infrastructure.database.migrate import migrate
from infrastructure.runtime import garbage_collection

console = Console(stderr=True)


def main() -> None:
    parts = ("append", "serve", "import", "grow", "rebuild", "verify", "backtest", "read")
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=parts, action="append", help="measure this part; may be given again")
    parser.add_argument("--events", type=int, default=10_000_000, help="the size of the large log")
    parser.add_argument("--orders", type=int, default=1_000_000, help="how many orders the lists are read of")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    arguments = parser.parse_args()
    results: list[Result] = []
    garbage_collection.tune()
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer.start(Path(folder)) as server:

        def fresh(name: str) -> str:
            with psycopg.connect(server.url_for("postgres"), autocommit=True) as connection:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            migrate(server.url_for(name))
            return server.url_for(name)

        measure: dict[str, Callable[[], Iterable[Result]]] = {
            "append": lambda: _append(fresh("append")),
            "serve": lambda: serving.all_of_it(fresh),
            "import": lambda: [importing.large_export(fresh("import"))],
            "grow": lambda: _grow(fresh("empty"), fresh("large"), arguments.events),
            "rebuild": lambda: _shown(lambda bar: rebuilding.all_of_it(fresh, arguments.events, bar)),
            "backtest": lambda: _shown(
                lambda bar: backtesting.all_of_it(fresh, bar, min(arguments.events, backtesting.EVENTS))
            ),
            "verify": lambda: _shown(lambda bar: verifying.all_of_it(fresh, arguments.events, bar)),
            "read": lambda: _shown(
                lambda bar: reading.all_of_it(fresh("live"), fresh("behind"), fresh("lists"), arguments.orders, bar)
            ),
        }
        for part in arguments.only or parts:
            console.print(f"measuring: {part} ...")
            for result in measure[part]():
                console.print(f"  {result.claim}: {result.ratio:.2f} of {result.peer_name}")
                results.append(result)
    if arguments.json:
        print(json.dumps([result._asdict() | {"ratio": result.ratio} for result in results], indent=2))
    else:
        show(results)


def _append(url: str) -> Iterable[Result]:
    yield appending.batches(url)
    yield from appending.sizes(url)
    yield from appending.singles(url)
    yield from appending.against_the_library(url)


def _grow(empty: str, full: str, events: int) -> Iterable[Result]:
    with Progress(console=console) as progress:
        growing.fill(full, events, progress)
    return growing.against_an_empty_log(empty, full, events)


def _shown(measure: Callable[[Progress], Iterable[Result]]) -> Iterable[Result]:
    yield from measure(Progress(console=console))


if __name__ == "__main__":
    main()
