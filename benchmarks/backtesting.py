"""Backtests of one shop's log, compared with a raw COPY of the same events."""

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator

from msgspec.structs import replace
from rich.progress import Progress

from benchmarks import lives
from benchmarks.rebuilding import raw_copy
from benchmarks.table import Result
from domain.rules.ruleset import GoodsHours, PenaltyStep, RuleSet
from infrastructure.queries.backtest import Backtest, BacktestScope, backtest
from infrastructure.runtime import clock
from infrastructure.runtime.rule_sets import shipped_rules

EVENTS = 1_000_000
TURNS = 3
SHOP = "shop-0"


def other_hours(rules: RuleSet) -> RuleSet:
    """Rules with other clocks, under which every order is judged anew."""
    return replace(rules, name="hours", ship_by=replace(rules.ship_by, hours=GoodsHours(ordinary=36)))


def other_prices(rules: RuleSet) -> RuleSet:
    """Rules that find the same violations at another price."""
    late = replace(rules.penalty.late_shipment, steps=(PenaltyStep(0, flat_fen=500),))
    return replace(rules, name="prices", penalty=replace(rules.penalty, late_shipment=late))


def against_copy(url: str, events: int, progress: Progress) -> Iterator[Result]:
    """Backtests of every order, by turns with a raw COPY of all events to a client."""
    lives.fill(url, events, 1, progress)
    raw_copy(url)
    today = shipped_rules().sets[-1]
    for changed, rules in (("other hours", other_hours(today)), ("other prices", other_prices(today))):
        copies, backtests = [], []
        for _ in range(TURNS):
            copies.append(raw_copy(url))
            began = time.perf_counter()
            backtest = run(url, rules)
            backtests.append(time.perf_counter() - began)
        yield Result(
            f"backtest of {changed}, {events:,} events",
            "events",
            events / statistics.median(backtests),
            "raw binary COPY out",
            events / statistics.median(copies),
            f"{backtest.orders:,} orders judged twice, {backtest.differing:,} differ",
        )


def run(url: str, rules: RuleSet) -> Backtest:
    return asyncio.run(backtest(url, SHOP, shipped_rules(), BacktestScope(rules=rules), clock.now()))


def all_of_it(fresh: Callable[[str], str], progress: Progress, events: int = EVENTS) -> Iterator[Result]:
    yield from against_copy(fresh("backtest"), events, progress)
