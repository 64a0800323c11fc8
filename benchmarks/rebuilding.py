"""Rebuilding three views, compared with a raw COPY of the events and with the library's runner."""

import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Self
from uuid import UUID

import psycopg
import uvloop
from psycopg import sql
from rich.progress import Progress

from benchmarks import lives
from benchmarks.table import Result
from infrastructure.database.pool import connection_pool
from infrastructure.projections import builds, rebuild
from infrastructure.projections.view import View
from infrastructure.projections.views import DEADLINES, ORDERS, VIEWS, VIOLATIONS
from infrastructure.runtime.rule_sets import shipped_rules

SHOPS = 4
DAYS = 30
TURNS = 3
LIBRARY_EVENTS = 2_000

REBUILT = (ORDERS, DEADLINES, VIOLATIONS)


class Rebuilt(NamedTuple):
    """Seconds of a whole rebuild and from when on each step ran; the largest process in MB."""

    seconds: float
    steps: dict[str, float]
    memory: float


def against_copy(url: str, events: int, views: Sequence[View] = REBUILT) -> Result:
    """A rebuild from nothing to verified, by turns with a raw COPY of the same events to a client."""
    raw_copy(url)
    copies, rebuilds = [], []
    for _ in range(TURNS if events <= 1_000_000 else 1):
        copies.append(raw_copy(url))
        rebuilds.append(uvloop.run(rebuild_once(url, views)))
    median = sorted(rebuilds)[len(rebuilds) // 2]
    begun = sorted(median.steps.items(), key=lambda step: step[1])
    ends = [*(at for _, at in begun[1:]), median.seconds]
    steps = ", ".join(
        f"{state.replace('_', ' ')} {end - at:.1f} s" for (state, at), end in zip(begun, ends, strict=True)
    )
    return Result(
        f"rebuild of {len(views)} views, {events:,} events",
        "events",
        events / median.seconds,
        "raw binary COPY out",
        events / statistics.median(copies),
        f"{steps}; largest process {max(each.memory for each in rebuilds):.0f} MB",
    )


def against_the_library(url: str, ours: float) -> Result:
    """The library's projection runner on its own events, one view; ``ours`` in events a second."""
    return Result(
        f"rebuild of {len(REBUILT)} views",
        "events",
        ours,
        "eventsourcing's projection runner",
        library_rate(url),
        "it keeps one view",
    )


def raw_copy(url: str) -> float:
    """The seconds to bring every event to a client by binary COPY."""
    with psycopg.connect(url, autocommit=True) as connection:
        began = time.perf_counter()
        with connection.cursor() as cursor, cursor.copy("COPY event TO STDOUT (FORMAT BINARY)") as copy:
            while copy.read():
                pass
        return time.perf_counter() - began


async def _prepared(url: str) -> None:
    async with connection_pool(url, size=6) as pool:
        await rebuild.prepare(pool, url, shipped_rules())


async def rebuild_once(url: str, views: Sequence[View]) -> Rebuilt:
    """Build views while others are live, verify the build, and drop it."""
    book = shipped_rules()
    steps: dict[str, float] = {}
    async with connection_pool(url, size=6) as pool:
        async with pool.connection() as connection:
            build = await rebuild.request(connection, views, book)
        began = time.perf_counter()

        def note(progress: rebuild.Progress) -> None:
            if progress.state != "ready":
                steps.setdefault(progress.state, time.perf_counter() - began)

        with Memory() as memory:
            result = await rebuild.run(pool, url, book, build.id, on_progress=note)
        seconds = time.perf_counter() - began
        assert result.state == "ready", result
        async with pool.connection() as connection:
            await builds.drop(connection, build.id)
    return Rebuilt(seconds, steps, memory.peak)


class Memory:
    """The most memory, in MB, that this program or one working on slices has while this is open."""

    def __enter__(self) -> Self:
        self.peak = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.05):
            for status in Path("/proc").glob("[0-9]*/status"):
                try:
                    ours = (
                        int(status.parent.name) == os.getpid()
                        or b"projections.slices" in (status.parent / "cmdline").read_bytes()
                    )
                    if ours:
                        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
                        self.peak = max(self.peak, int(fields["VmHWM"].split()[0]) / 1024)
                except (OSError, KeyError):
                    continue


def library_rate(url: str) -> float:
    """Events a second of ``eventsourcing``'s ProjectionRunner with a PostgreSQL view, as its manual shows it."""
    from eventsourcing.application import Application
    from eventsourcing.domain import Aggregate, event
    from eventsourcing.persistence import Tracking
    from eventsourcing.postgres import PostgresTrackingRecorder
    from eventsourcing.projection import Projection, ProjectionRunner

    class Parcel(Aggregate):
        @event("Placed")
        def __init__(self, paid_fen: int) -> None:
            self.status = "placed"
            self.paid_fen = paid_fen

        @event("Moved")
        def move(self, status: str) -> None:
            self.status = status

    class Parcels(Application[UUID]):
        pass

    class StatusView(PostgresTrackingRecorder):
        def __init__(self, datastore: object, **kwargs: object) -> None:
            super().__init__(datastore, **kwargs)  # type: ignore[arg-type]
            self.check_identifier_length("parcel_status")
            table = "CREATE TABLE IF NOT EXISTS parcel_status (id uuid PRIMARY KEY, status text, events integer)"
            self.sql_create_statements.append(sql.SQL(table).format())

        def show(self, number: UUID, status: str, tracking: Tracking) -> None:
            with self.datastore.transaction(commit=True) as cursor:
                self._insert_tracking(cursor, tracking)
                cursor.execute(
                    """INSERT INTO parcel_status AS p VALUES (%s, %s, 1)
                       ON CONFLICT (id) DO UPDATE SET status = excluded.status, events = p.events + 1""",
                    (number, status),
                )

    class Statuses(Projection[StatusView]):
        name = "statuses"
        topics = ()

        def process_event(self, domain_event: object, tracking: Tracking) -> None:
            status = getattr(domain_event, "status", "placed")
            self.view.show(domain_event.originator_id, status, tracking)  # type: ignore[attr-defined]

    info = psycopg.conninfo.conninfo_to_dict(url)
    env = {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": str(info["dbname"]),
        "POSTGRES_HOST": str(info["host"]),
        "POSTGRES_PORT": str(info.get("port", 5432)),
        "POSTGRES_USER": str(info["user"]),
        "POSTGRES_PASSWORD": "none",
    }
    app = Parcels(env=env)
    for _ in range(LIBRARY_EVENTS // 5):
        parcel = Parcel(paid_fen=12_900)
        for status in ("paid", "formed", "shipped", "received"):
            parcel.move(status)
        last = app.save(parcel)[-1].notification.id
    began = time.perf_counter()
    with ProjectionRunner(
        application_class=Parcels, projection_class=Statuses, view_class=StatusView, env=env
    ) as runner:
        runner.wait(last, timeout=120)
        seconds = time.perf_counter() - began
    app.close()
    return LIBRARY_EVENTS / seconds


def all_of_it(fresh: Callable[[str], str], largest: int, progress: Progress) -> Iterator[Result]:
    """Logs of 100,000, a million and (if requested) ten million events. The million also goes to the library."""
    for events in sorted({100_000, 1_000_000, largest}):
        url = fresh(f"rebuild_{events}")
        lives.fill(url, events, SHOPS, progress, DAYS)
        uvloop.run(_prepared(url))
        result = against_copy(url, events)
        yield result
        if events == 1_000_000:
            yield against_the_library(fresh("library"), result.ours)
            yield against_copy(url, events, VIEWS)
