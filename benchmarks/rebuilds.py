"""``python -m benchmarks.rebuilds``: a rebuild while clients write: killed, resumed, verified, activated, undone.

The program serves and takes commands all the while. At the end every live build is compared with a fresh fold
of the whole log, row by row.
"""

import argparse
import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import uvloop
from rich.console import Console
from rich.progress import Progress

from benchmarks import lives
from benchmarks.reading import Client
from benchmarks.serving import ORDER, serving
from infrastructure.database.embedded import EmbeddedServer
from infrastructure.database.migrate import migrate
from infrastructure.database.pool import connection_pool
from infrastructure.projections.views import VIEWS
from infrastructure.projections.worker import Worker
from infrastructure.runtime.rule_sets import shipped_rules

out = Console(highlight=False)

SHOPS = 4
BATCH = 50
PATIENCE = 120.0
"""Seconds that anything may take before the run is given up."""


class Wrong(Exception):
    """The program did not do what it promises."""


def run(url: str, events: int, progress: Progress | None = None) -> dict[str, Any]:
    """The whole demonstration on an empty, migrated database. Returns counts. Raises ``Wrong``."""
    lives.fill(url, events, SHOPS, progress)
    shops = [f"shop-{number}" for number in range(SHOPS)]
    with serving(url, shops) as (port, key), _load(port, key) as load:
        (first,) = {projection["active"] for projection in _shiplock(url, "list")["items"]}
        out.print(f"Serving a log of {events:,} events; build {first} answers; clients write.")

        rebuilding = _start(url, "rebuild", "--all")
        killed_at = _until_some_slices(url)
        rebuilding.send_signal(signal.SIGKILL)
        rebuilding.wait()
        out.print(f"A rebuild was killed with {killed_at['done']:,} of {killed_at['total']:,} events folded.")

        resumed = _shiplock(url, "rebuild", "--all")
        if resumed["id"] != killed_at["id"] or resumed["state"] != "ready":
            raise Wrong(f"build {killed_at['id']} was not continued: {resumed}")
        checked = resumed["verification"]
        out.print(
            f"It was continued and verified: {checked['orders']:,} orders counted, "
            f"{checked['compared']:,} compared."
        )
        _shiplock(url, "activate", VIEWS[0].name, "--build", str(resumed["id"]))
        _expect_active(url, resumed["id"])
        out.print(f"Build {resumed['id']} is active, {load['events']:,} events appended meanwhile.")
        time.sleep(1.0)
        for view in VIEWS:
            _shiplock(url, "rollback", view.name)
        _expect_active(url, first)
        out.print(f"Gone back to build {first}.")
        time.sleep(1.0)
        load["stop"] = True
    _until_settled(url)
    sums = {}
    for build in (first, resumed["id"]):
        verified = _shiplock(url, "verify", str(build), "--everything")
        sums[build] = verified["checksum"]
        if verified["checksum"] != verified["expected"]:
            raise Wrong(f"build {build} differs from the log: {verified['differences']}")
        out.print(
            f"Build {build}: {verified['compared']:,} orders equal a fresh fold, "
            f"checksum {verified['checksum'][:16]}…"
        )
    return {"events": events + load["events"], "killed_at": killed_at["done"], "checksums": sums}


@contextmanager
def _load(port: int, key: str) -> Iterator[dict[str, Any]]:
    """A client that places and forms orders in four shops, without a pause."""
    load: dict[str, Any] = {"events": 0, "stop": False, "error": None}

    async def submit() -> None:
        client = await Client.to(port, key)
        for turn in itertools.count():
            if load["stop"]:
                return
            orders = [f"live-{turn}-{n}" for n in range(BATCH)]
            placed = [{"order_sn": order, "action": "place", **ORDER} for order in orders]
            formed = [{"order_sn": order, "action": "form-group"} for order in orders]
            answer = await client.ask(
                "POST", f"/v1/shops/shop-{turn % SHOPS}/commands", {"commands": placed + formed}
            )
            outcomes: Any = answer["outcomes"]
            if any(outcome["status"] >= 300 for outcome in outcomes):
                raise Wrong(f"a command was refused: {outcomes}")
            load["events"] += len(outcomes)

    def work() -> None:
        try:
            uvloop.run(submit())
        except Exception as error:
            load["error"] = error

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield load
    finally:
        load["stop"] = True
        thread.join()
    if load["error"]:
        raise load["error"]


def _start(url: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "api.cli", "projections", *arguments, "--json"],
        env=os.environ | {"SHIPLOCK_DATABASE_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _shiplock(url: str, *arguments: str) -> Any:
    """The JSON that ``shiplock projections`` prints."""
    process = _start(url, *arguments)
    output, errors = process.communicate(timeout=PATIENCE)
    if process.returncode:
        raise Wrong(f"projections {' '.join(arguments)}: {errors}")
    return json.loads(output)


def _until_some_slices(url: str) -> dict[str, Any]:
    """Wait until the rebuild has done a few slices, but not all of them."""
    give_up = time.monotonic() + PATIENCE
    with psycopg.connect(url, autocommit=True) as connection:
        while time.monotonic() < give_up:
            row = connection.execute(
                """SELECT build_id, sum(events) FILTER (WHERE done), sum(events) FROM slice
                   JOIN build ON build.id = build_id AND state = 'building'
                   GROUP BY build_id HAVING count(*) FILTER (WHERE done) >= 3"""
            ).fetchone()
            if row:
                return {"id": row[0], "done": int(row[1]), "total": int(row[2])}
            time.sleep(0.01)
    raise Wrong("the rebuild has not begun")


def _expect_active(url: str, build_id: int) -> None:
    active = {projection["active"] for projection in _shiplock(url, "list")["items"]}
    if active != {build_id}:
        raise Wrong(f"build {build_id} should be active, {active} is")


def _until_settled(url: str) -> None:
    """Wait until every live build has reached the head of every log. No server runs any more."""

    async def settle() -> None:
        async with connection_pool(url, size=2) as pool:
            worker = Worker(pool, shipped_rules())
            while await worker.catch_up_once():
                pass

    asyncio.run(settle())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rebuilds", description=__doc__)
    parser.add_argument("--events", type=int, default=300_000, help="the size of the log to begin with")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer.start(Path(folder)) as server:
        migrate(server.url)
        with Progress(console=Console(stderr=True)) as progress:
            result = run(server.url, arguments.events, progress)
    out.print(f"{result['events']:,} events in the end, nothing missing, nothing doubled.")


if __name__ == "__main__":
    main()
