"""Backtests: what a shop's history would have cost under another rule set.

The log is replayed over all cores; nothing is written, and no view is read.
"""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta, field

from domain.kernel import VIOLATION_KINDS, ViolationKind
from domain.money.attribution import Count
from domain.money.backtest import Comparison, OrderDifference, Tally, counted
from domain.rules.ruleset import RuleBook, RuleSet
from infrastructure.database.pool import ReadConnection
from infrastructure.log.log import read_head
from infrastructure.log.replay import Replayed, partitions, replay

MOST_SHOWN = 100
"""So many of the orders that differ are in a result, those that differ most."""

_AwareTime = Annotated[datetime, Meta(tz=True)]


class BacktestScope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to compare: a rule set with the rules in force.

    The set governs every order whose group formed from ``since`` on and before ``until`` (while it has not:
    that was placed then), whatever its own effective date. Orders are judged as they stand at ``as_of``, by
    what had occurred by then; without it as they stand now.
    """

    rules: RuleSet
    since: _AwareTime | None = field(default=None, name="from")
    until: _AwareTime | None = field(default=None, name="to")
    as_of: _AwareTime | None = None

    def __post_init__(self) -> None:
        if self.since and self.until and self.since >= self.until:
            raise ValueError("`from` must be before `to`")


class Compared(msgspec.Struct, frozen=True):
    """Violations under the rules in force (``now``), under the other set (``then``), and ``then`` less ``now``.

    Of one ``kind``, or of all; ``orders_differing`` is on how many orders they differ.
    """

    kind: ViolationKind | None
    now: Count
    then: Count
    difference: Count
    orders_differing: int


class Backtest(msgspec.Struct, frozen=True):
    """What a backtest found. ``differing`` of ``orders`` fare otherwise; ``items`` are those that differ most.

    ``position`` is how far the shop's log was read. Of ``unreadable`` orders only the part that can be read
    was judged.
    """

    shop_id: str
    rules: str
    since: datetime | None = field(name="from")
    until: datetime | None = field(name="to")
    as_of: datetime
    position: int
    orders: int
    differing: int
    kinds: tuple[Compared, ...]
    total: Compared
    items: tuple[OrderDifference, ...]
    unreadable: tuple[str, ...]


class BacktestProgress(NamedTuple):
    """How far a backtest is, in events, and how long it took to get there."""

    done: int
    total: int
    seconds: float


async def backtest(
    url: str,
    shop_id: str,
    book: RuleBook,
    scope: BacktestScope,
    now: datetime,
    *,
    processes: int | None = None,
    on_progress: Callable[[BacktestProgress], None] = lambda progress: None,
    on_differences: Callable[[Sequence[OrderDifference]], None] | None = None,
) -> Backtest:
    """Judge every order of a shop by the rules in force and by another set.

    This process folds too, for as long as it takes; whoever serves has a program of its own do this.
    ``on_differences`` is given every order that differs, by number; otherwise only the largest are kept.
    Raises ``ReplayFailed``.
    """
    began = time.monotonic()
    async with await ReadConnection.connect(url, autocommit=True) as connection:
        position = await read_head(connection, shop_id)
        planned = await partitions(connection, shop_id, position)
    at = scope.as_of or now
    compare = Comparison(
        book, RuleBook([scope.rules]), at, scope.since, scope.until, None if on_differences else MOST_SHOWN
    )
    tally, done = Tally(), 0
    unreadable: list[str] = []
    on_progress(BacktestProgress(0, position, 0.0))
    parts: AsyncIterator[Replayed[Tally]] = replay(
        url, planned, compare, as_of=scope.as_of, processes=processes, here=True
    )
    async for part in parts:
        if on_differences:
            on_differences(part.result.differences)
        tally.merge(part.result, MOST_SHOWN)
        unreadable += part.unreadable
        done += part.events
        on_progress(BacktestProgress(done, position, time.monotonic() - began))
    return Backtest(
        shop_id=shop_id,
        rules=scope.rules.name,
        since=scope.since,
        until=scope.until,
        as_of=at,
        position=position,
        orders=tally.orders,
        differing=tally.differing,
        kinds=tuple([_compared(tally, kind) for kind in VIOLATION_KINDS]),
        total=_compared(tally),
        items=tuple(tally.differences),
        unreadable=tuple(unreadable[:MOST_SHOWN]),
    )


def _compared(tally: Tally, kind: ViolationKind | None = None) -> Compared:
    now, then = counted(tally.now, kind), counted(tally.then, kind)
    more = Count(
        then.violations - now.violations,
        then.penalties_fen - now.penalties_fen,
        then.unknown_penalties - now.unknown_penalties,
    )
    return Compared(kind, now, then, more, tally.by_kind[kind] if kind else tally.differing)
