"""``python -m benchmarks``: everything, on an embedded database of its own; a few minutes."""

import tempfile
from pathlib import Path

import psycopg
from psycopg import sql
from rich.console import Console

from benchmarks import appending, importing, serving
from benchmarks.table import Result, show
from infrastructure.database.embedded import EmbeddedServer
from infrastructure.database.migrate import migrate


def main() -> None:
    said = Console(stderr=True)
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer.start(Path(folder)) as server:

        def fresh(name: str) -> str:
            said.print(f"measuring {name} ...")
            with psycopg.connect(server.url_for("postgres"), autocommit=True) as connection:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            migrate(server.url_for(name))
            return server.url_for(name)

        results.append(importing.large_export(fresh("importing")))
        results.append(appending.batches(fresh("batches")))
        results.append(appending.beside_the_library(fresh("singles")))
        one, load = serving.singles(fresh("one_shop"), 1)
        results.append(one)
        many, _ = serving.singles(fresh("many_shops"), 1_000)
        results.append(many)
        results.append(serving.bulk(fresh("bulk"), load))
    show(results)


if __name__ == "__main__":
    main()
