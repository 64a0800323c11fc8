"""Builds: the tables behind the views. One build of a view is active; the previous one stays for a rollback.

A build has some views, each in a table of its own. While it is live, workers keep it at the head of every shop's
log. The build is a reader of the logs, and its position in each is a row of the table ``checkpoint``. (The table's
name is part of the storage format. Everywhere else in the program a checkpoint is a signed tree head.) The table
``projection`` has the active build of each view. Queries use a SQL view that shows the active build's table.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

import msgspec
import psycopg
from psycopg import sql
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from domain.rules.ruleset import RuleBook
from infrastructure.database.pool import ReadConnection, WriteConnection
from infrastructure.projections.view import View
from infrastructure.projections.views import BY_NAME, VIEWS

BuildState = Literal["building", "indexing", "catching_up", "verifying", "ready", "failed"]

_CHANGING_LIVE = 7_166_401_946_155_042
"""The advisory lock for making builds live or not. Those who write to live builds share it."""

_TRIES = 20
_BETWEEN_TRIES = 0.05
"""Seconds. Meanwhile the statements that one try blocked can go on."""


class CannotDo(Exception):
    """An operation on a build is not possible; the message says why and what to do."""


class Build(NamedTuple):
    """A row of the table ``build``. ``scope`` is empty if the build shows the present."""

    id: int
    views: list[str]
    definition: str
    state: BuildState
    live: bool
    scope: dict[str, Any]
    total: int
    worked_seconds: float
    requested_at: datetime
    finished_at: datetime | None
    error: str | None
    verification: dict[str, Any] | None

    @property
    def reader(self) -> str:
        """The name under which its positions are stored."""
        return f"build:{self.id}"

    @property
    def declared(self) -> list[View]:
        return [BY_NAME[name] for name in self.views]


class Active(NamedTuple):
    """The active build of a view, and the one that was active before."""

    name: str
    active: int
    previous: int | None


_BUILD = sql.SQL(", ").join(map(sql.Identifier, Build._fields))


def definition(views: Sequence[View], book: RuleBook) -> str:
    """A text that is equal for builds with equal rows: the versions of the views, and a hash of all rules."""
    rules = hashlib.sha256(
        msgspec.json.encode(_judgments(msgspec.to_builtins(book.sets)), order="sorted")
    ).hexdigest()[:16]
    return " ".join([*(f"{view.name}/{view.version}" for view in views), f"rules/{rules}"])


_NO_JUDGMENTS = {"title", "source", "confidence"}
"""Fields that only tell people where a rule comes from. No row depends on them."""


def _judgments(rules: Any) -> Any:
    """Rules without the fields in ``_NO_JUDGMENTS``."""
    if isinstance(rules, dict):
        return {name: _judgments(rule) for name, rule in rules.items() if name not in _NO_JUDGMENTS}
    return [_judgments(rule) for rule in rules] if isinstance(rules, list | tuple) else rules


def table_of(view: View, build_id: int) -> sql.Identifier:
    """The table of a view in a build."""
    return sql.Identifier(f"{view.table}_{build_id}")


async def register(
    connection: WriteConnection,
    views: Sequence[View],
    book: RuleBook,
    requested_at: datetime,
    state: BuildState,
    scope: dict[str, Any] | None = None,
) -> Build:
    """Make a build with empty tables that is not live yet, in the caller's transaction."""
    cursor = connection.cursor(row_factory=class_row(Build))
    await cursor.execute(
        sql.SQL(
            """INSERT INTO build (views, definition, state, scope, requested_at)
               VALUES (%s, %s, %s, %s, %s) RETURNING {}"""
        ).format(_BUILD),
        ([view.name for view in views], definition(views, book), state, Jsonb(scope or {}), requested_at),
    )
    build = await cursor.fetchone()
    assert build
    for view in views:
        await connection.execute(sql.SQL("CREATE TABLE {} {}").format(table_of(view, build.id), columns_of(view)))
    return build


def columns_of(view: View) -> sql.Composed:
    """The columns of a view's table, as ``CREATE TABLE`` declares them."""
    columns = [
        sql.SQL("{} {} {}").format(
            sql.Identifier(column.name), sql.SQL(column.type), sql.SQL("" if column.optional else "NOT NULL")
        )
        for column in view.columns
    ]
    return sql.SQL("(shop_id text NOT NULL, {} text NOT NULL, {})").format(
        sql.Identifier(view.of.id_column), sql.SQL(", ").join(columns)
    )


def index_statements(build: Build) -> list[sql.Composed]:
    """Statements that make the build's keys and indexes. Each can be run again.

    Views with several rows for an order come first, because their indexes take longest.
    """
    return [
        statement
        for view in sorted(build.declared, key=lambda view: len(view.key), reverse=True)
        for statement in indexes_of(view, f"{view.table}_{build.id}")
    ]


def indexes_of(view: View, table: str) -> list[sql.Composed]:
    """Statements that make the key and the indexes of a table with a view's columns. Each can be run again."""
    key = sql.SQL(", ").join(map(sql.Identifier, view.key))
    return [
        sql.SQL("CREATE UNIQUE INDEX IF NOT EXISTS {} ON {} ({})").format(
            sql.Identifier(f"{table}_key"), sql.Identifier(table), key
        ),
        *(
            sql.SQL("CREATE INDEX IF NOT EXISTS {} ON {} {}").format(
                sql.Identifier(f"{table}_{index.name}"), sql.Identifier(table), sql.SQL(index.on)
            )
            for index in view.indexes
        ),
    ]


def statistics_statements(build: Build) -> list[sql.Composed]:
    """Statements that collect the planner's statistics of all columns but the JSON documents.

    No query filters by a document.
    """
    return [
        sql.SQL("ANALYZE {} ({})").format(
            table_of(view, build.id),
            sql.SQL(", ").join(
                map(
                    sql.Identifier,
                    ["shop_id", view.of.id_column, *(c.name for c in view.columns if c.type != "json")],
                )
            ),
        )
        for view in build.declared
    ]


async def find(connection: ReadConnection, build_id: int) -> Build | None:
    cursor = connection.cursor(row_factory=class_row(Build))
    await cursor.execute(sql.SQL("SELECT {} FROM build WHERE id = %s").format(_BUILD), (build_id,))
    return await cursor.fetchone()


async def latest_ready(connection: ReadConnection, name: str) -> Build | None:
    """The latest ready build of a view, unless it is the active or the previous one."""
    now = (await actives(connection)).get(name)
    ready = [
        build for build in await every(connection) if name in build.views and build.state == "ready" and build.live
    ]
    if not ready or (now and ready[-1].id in (now.active, now.previous)):
        return None
    return ready[-1]


async def every(connection: ReadConnection) -> list[Build]:
    """All builds, oldest first."""
    cursor = connection.cursor(row_factory=class_row(Build))
    await cursor.execute(sql.SQL("SELECT {} FROM build ORDER BY id").format(_BUILD))
    return await cursor.fetchall()


async def actives(connection: ReadConnection) -> dict[str, Active]:
    """By view."""
    cursor = connection.cursor(row_factory=class_row(Active))
    await cursor.execute("SELECT name, active, previous FROM projection")
    return {active.name: active for active in await cursor.fetchall()}


async def live(connection: ReadConnection, book: RuleBook, *, hold: bool = False) -> list[Build]:
    """The live builds that this program can write: those with the definition that it would give them itself.

    With ``hold`` no build begins or ceases to be live until the caller's transaction ends.
    """
    if hold:
        await connection.execute("SELECT pg_advisory_xact_lock_shared(%s)", (_CHANGING_LIVE,))
    cursor = connection.cursor(row_factory=class_row(Build))
    await cursor.execute(sql.SQL("SELECT {} FROM build WHERE live ORDER BY id").format(_BUILD))
    return [build for build in await cursor.fetchall() if is_current(build, book)]


def is_current(build: Build, book: RuleBook) -> bool:
    """Whether this program would give the build's tables the same rows."""
    known = [BY_NAME[name] for name in build.views if name in BY_NAME]
    return len(known) == len(build.views) and build.definition == definition(known, book)


async def begin_reading(connection: WriteConnection, build: Build, positions: dict[str, int]) -> None:
    """Set a build's first position in each log, in the caller's transaction.

    If the build shows the present, it is live from now on, and workers keep it current.
    """
    await _change_live(connection)
    await connection.execute(
        """INSERT INTO checkpoint (shop_id, reader, position)
           SELECT shop_id, %s, position FROM unnest(%s::text[], %s::bigint[]) AS w(shop_id, position)
           ON CONFLICT (shop_id, reader) DO NOTHING""",
        (build.reader, list(positions), list(positions.values())),
    )
    await connection.execute("UPDATE build SET live = %s WHERE id = %s", (not build.scope, build.id))


async def set_state(
    connection: WriteConnection,
    build: Build,
    state: BuildState,
    *,
    error: str | None = None,
    verification: dict[str, Any] | None = None,
    finished_at: datetime | None = None,
) -> None:
    """Set the state of a build. A failed build is no longer live."""
    await connection.execute(
        """UPDATE build SET state = %s, live = live AND %s, error = %s, finished_at = coalesce(%s, finished_at),
           verification = coalesce(%s, verification) WHERE id = %s""",
        (state, state != "failed", error, finished_at, Jsonb(verification) if verification else None, build.id),
    )


async def activate(connection: WriteConnection, build_id: int, book: RuleBook) -> None:
    """Make a verified build the active one of all its views. The previous ones stay live for a rollback.

    Raises ``CannotDo``.
    """
    build = await find(connection, build_id)
    if build is None:
        raise CannotDo(f"There is no build {build_id}.")
    if build.scope:
        raise CannotDo(f"Build {build_id} does not show the present; it can be read, not activated.")
    if build.state != "ready":
        raise CannotDo(f"Build {build_id} is {build.state}{f' ({build.error})' if build.error else ''}, not ready.")
    before = await actives(connection)
    if all(name in before and before[name].active == build_id for name in build.views):
        raise CannotDo(f"Build {build_id} is active already.")
    await _switch(connection, build.views, build, book)


async def roll_back(connection: WriteConnection, name: str, book: RuleBook) -> int:
    """Activate a view's previous build again and return its id. Raises ``CannotDo``."""
    before = (await actives(connection)).get(name)
    build = await find(connection, before.previous) if before and before.previous else None
    if build is None:
        raise CannotDo(f"There is no earlier build of {name} to go back to.")
    await _switch(connection, [name], build, book)
    return build.id


async def _switch(connection: WriteConnection, names: Sequence[str], build: Build, book: RuleBook) -> None:
    """Change the active build of some views in one transaction."""
    if not is_current(build, book):
        raise CannotDo(
            f"Build {build.id} is of {build.definition}, which this program does not write; "
            f"it would fall behind. Rebuild {' and '.join(names)}."
        )
    await _without_waiting(
        connection,
        lambda: _switch_now(connection, names, build),
        "The views are being read without a pause; try again later.",
    )


async def _without_waiting(
    connection: WriteConnection, change: Callable[[], Awaitable[None]], otherwise: str
) -> None:
    """Change tables in a transaction that waits for their readers only for fractions of a second at a time.

    A statement that waits for a table's lock blocks all later ones, and here all workers too. Raises ``CannotDo``
    with the message ``otherwise`` if readers leave no gap.
    """
    for _ in range(_TRIES):
        try:
            async with connection.transaction():
                await connection.execute("SET LOCAL lock_timeout = '250ms'")
                await change()
            return
        except psycopg.errors.LockNotAvailable:
            await asyncio.sleep(_BETWEEN_TRIES)
    raise CannotDo(otherwise)


async def _switch_now(connection: WriteConnection, names: Sequence[str], build: Build) -> None:
    await _change_live(connection)
    registered = await find(connection, build.id)
    if registered is None or not registered.live:
        raise CannotDo(f"Build {build.id} is no longer kept current. Rebuild {' and '.join(names)}.")
    before = await actives(connection)
    for name in names:
        now = before.get(name)
        if now and await _is_behind(connection, build, now.active):
            raise CannotDo(f"Build {build.id} has not caught up with the one that is active; try again.")
        await connection.execute(
            """INSERT INTO projection (name, active) VALUES (%(name)s, %(id)s)
               ON CONFLICT (name) DO UPDATE SET active = %(id)s, previous = projection.active
               WHERE projection.active <> %(id)s""",
            {"name": name, "id": build.id},
        )
        view = BY_NAME[name]
        sql_view = sql.Identifier(view.table)
        await connection.execute(sql.SQL("DROP VIEW IF EXISTS {}").format(sql_view))
        await connection.execute(
            sql.SQL("CREATE VIEW {} AS SELECT * FROM {}").format(sql_view, table_of(view, build.id))
        )
    # Builds that are neither active nor previous are no longer live.
    await connection.execute(
        """UPDATE build SET live = false WHERE live AND state = 'ready' AND finished_at <= (
               SELECT finished_at FROM build WHERE id = %s)
           AND NOT EXISTS (SELECT FROM projection p WHERE id IN (p.active, p.previous))""",
        (build.id,),
    )


async def _is_behind(connection: ReadConnection, build: Build, other: int) -> bool:
    cursor = await connection.execute(
        """SELECT EXISTS (
               SELECT FROM checkpoint a LEFT JOIN checkpoint b ON b.shop_id = a.shop_id AND b.reader = %s
               WHERE a.reader = %s AND a.position > coalesce(b.position, 0))""",
        (build.reader, f"build:{other}"),
    )
    row = await cursor.fetchone()
    return bool(row and row[0])


async def drop(connection: WriteConnection, build_id: int) -> None:
    """Remove a build and its tables. Raises ``CannotDo`` if it is active for a view."""
    build = await find(connection, build_id)
    if build is None:
        raise CannotDo(f"There is no build {build_id}.")
    await _without_waiting(
        connection,
        lambda: _drop_now(connection, build),
        f"Build {build_id} is being read, by an export perhaps; try again when that is done.",
    )


async def _drop_now(connection: WriteConnection, build: Build) -> None:
    await _change_live(connection)
    for active in (await actives(connection)).values():
        if active.active == build.id:
            raise CannotDo(f"Build {build.id} is active for {active.name}.")
    await connection.execute("UPDATE projection SET previous = NULL WHERE previous = %s", (build.id,))
    for name in build.views:
        if name in BY_NAME:
            table = table_of(BY_NAME[name], build.id)
            await connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(table))
    await connection.execute("DELETE FROM slice WHERE build_id = %s", (build.id,))
    await connection.execute("DELETE FROM build WHERE id = %s", (build.id,))
    await connection.execute("DELETE FROM checkpoint WHERE reader = %s", (build.reader,))


async def _change_live(connection: WriteConnection) -> None:
    """Wait until nobody writes to live builds, and lock writers out until the transaction ends."""
    await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_CHANGING_LIVE,))


async def reached(connection: ReadConnection, shop_id: str, name: str) -> int:
    """The position up to which a view shows a shop's log."""
    cursor = await connection.execute(
        """SELECT c.position FROM projection p
           JOIN checkpoint c ON c.reader = 'build:' || p.active AND c.shop_id = %s WHERE p.name = %s""",
        (shop_id, name),
    )
    row = await cursor.fetchone()
    return row[0] if row else 0


async def missing(connection: ReadConnection, book: RuleBook) -> list[View]:
    """The views whose active build does not have this program's definition, or that have none."""
    now = await actives(connection)
    by_id = {build.id: build for build in await every(connection)}
    return [view for view in VIEWS if view.name not in now or not is_current(by_id[now[view.name].active], book)]
