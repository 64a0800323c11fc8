"""A made-up bill of 1,000 lines with planted differences, and whether reconciliation finds exactly those.

A shop is made up whose orders were late, out of stock, shipped falsely or fraudulently, and a bill that charges
most of them rightly. Into it go planted mistakes of every kind, written down as they are made. The bill is brought
in and reconciled by the command line, and what it finds is held against what was planted.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from msgspec.structs import replace
from rich.console import Console
from rich.table import Table

from api.program import Program
from domain.calendar import BEIJING
from domain.kernel import Command, ViolationKind
from domain.order import commands as c
from infrastructure.commands.intents import OrderCommand
from infrastructure.database.embedded import EmbeddedServer
from infrastructure.database.migrate import migrate
from infrastructure.runtime import clock
from infrastructure.runtime.rule_sets import shipped_rules

SHOP = "100000001"
LINES = 1_000
HEADER = "商户订单号,发生时间,收入金额（+元）,支出金额（-元）,账务类型,业务描述"
BUSINESS: dict[ViolationKind | None, str] = {
    "late_shipment": "售后费用-延迟发货",
    "stockout": "售后费用-缺货",
    "false_shipment": "售后费用-虚假发货",
    "fraudulent_shipment": "售后费用-欺诈发货",
    None: "其他收入-申诉补回",
}

Planted = tuple[str, str, str | None, int]
"""A difference as it is planted: what it is, the order, the kind, and the fen paid too much."""


class MadeUp(NamedTuple):
    """Commands that make the shop, in order; the bill's lines; the differences that were planted."""

    commands: list[tuple[str, Command]]
    bill: list[str]
    planted: set[Planted]


class _Maker:
    """Makes up one order after another. Money is in fen, prices are those of the rule set pinduoduo-2023-01."""

    def __init__(self, seed: int, now: datetime) -> None:
        self._random = Random(seed)
        self._begin = now - timedelta(days=30)
        self._made = 0
        self.commands: list[tuple[str, Command]] = []
        self.bill: list[str] = []
        self.planted: set[Planted] = set()

    def order(self, *, shipped_after: float | None, picked_up_after: float = 2) -> tuple[str, int, datetime]:
        """An order, its payment, and when its group formed; shipped so many hours later, scanned after more."""
        self._made += 1
        order_sn = f"made-up-{self._made:05d}"
        paid = self._random.randrange(5, 600) * 100
        formed = self._begin + timedelta(minutes=7 * self._made)
        line = c.OrderedLine("52000301", "520003", "泰国金枕榴莲 1个", 1, paid)
        self._add(order_sn, c.Place(lines=(line,), paid_fen=paid), formed)
        self._add(order_sn, c.FormGroup(), formed)
        if shipped_after is not None:
            shipped = formed + timedelta(hours=shipped_after)
            number = f"SF{self._made:011d}"
            self._add(order_sn, c.UploadTracking(carrier="顺丰速运", tracking_number=number), shipped)
            self._add(order_sn, c.RecordPickup(), shipped + timedelta(hours=picked_up_after))
        return order_sn, paid, formed

    def late(self) -> tuple[str, int, datetime]:
        order_sn, _, formed = self.order(shipped_after=self._random.uniform(49, 100))
        return order_sn, 300, formed

    def out_of_stock(self) -> tuple[str, int, datetime]:
        order_sn, paid, formed = self.order(shipped_after=None)
        refund = c.Refund(initiated_by="merchant", reason="out_of_stock")
        self._add(order_sn, refund, formed + timedelta(hours=20))
        return order_sn, 500 if paid < 10_000 else min(paid * 5 // 10_000 * 100, 10_000), formed

    def false(self) -> tuple[str, int, datetime]:
        order_sn, paid, formed = self.order(shipped_after=10, picked_up_after=40)
        return order_sn, 500 if paid < 2_000 else min(paid * 25 // 10_000 * 100, 10_000), formed

    def fraudulent(self) -> tuple[str, int, datetime]:
        order_sn, paid, formed = self.order(shipped_after=10)
        self._add(order_sn, c.FileComplaint(finding="empty_parcel"), formed + timedelta(hours=90))
        self._add(order_sn, c.DecideComplaint(outcome="upheld"), formed + timedelta(hours=130))
        return order_sn, paid, formed

    def broken(self) -> tuple[ViolationKind, str, int, datetime]:
        """An order that broke one rule, and what that costs."""
        kinds: dict[ViolationKind, Callable[[], tuple[str, int, datetime]]] = {
            "late_shipment": self.late,
            "stockout": self.out_of_stock,
            "false_shipment": self.false,
            "fraudulent_shipment": self.fraudulent,
        }
        (kind,) = self._random.choices(list(kinds), weights=(70, 15, 10, 5))
        return kind, *kinds[kind]()

    def overturned(self) -> tuple[str, int, datetime]:
        """A late order whose violation was appealed against, with success."""
        order_sn, fen, formed = self.late()
        appealed = formed + timedelta(hours=110)
        violation_id = f"{order_sn}:late_shipment"
        self._add(order_sn, c.AppealViolation(violation_id=violation_id), appealed)
        decided = c.DecideAppeal(violation_id=violation_id, outcome="overturned")
        self._add(order_sn, decided, appealed + timedelta(hours=30))
        return order_sn, fen, formed

    def charge(self, order_sn: str, kind: ViolationKind | None, fen: int, formed: datetime) -> None:
        at = (formed + timedelta(days=8)).astimezone(BEIJING)
        yuan = f"{fen / 100:.2f}"
        income, expense = (yuan, "") if kind is None else ("", f"-{yuan}")
        self.bill.append(f"{order_sn},{at:%Y-%m-%d %H:%M:%S},{income},{expense},其他,{BUSINESS[kind]}")

    def sale(self) -> None:
        """A line about something else, as most of a bill's are."""
        order_sn, paid, formed = self.order(shipped_after=20)
        at = (formed + timedelta(days=3)).astimezone(BEIJING)
        self.bill.append(f"{order_sn},{at:%Y-%m-%d %H:%M:%S},{paid / 100:.2f},,交易收入,交易收入-订单收入")

    def plant(self, difference: str, order_sn: str, kind: ViolationKind | None, too_much: int) -> None:
        self.planted.add((difference, order_sn, kind, too_much))

    def shuffle(self) -> None:
        self._random.shuffle(self.bill)

    def randrange(self, first: int, beyond: int) -> int:
        return self._random.randrange(first, beyond)

    def _add(self, order_sn: str, command: Command, at: datetime) -> None:
        self.commands.append((order_sn, replace(command, occurred_at=at)))


def made_up(seed: int, now: datetime, lines: int = LINES) -> MadeUp:
    """A shop and a bill of exactly so many lines, a tenth of them planted mistakes."""
    maker = _Maker(seed, now)
    for _ in range(lines * 3 // 100):
        kind, order_sn, fen, formed = maker.broken()
        maker.plant("expected_not_charged", order_sn, kind, -fen)

        order_sn, _, formed = maker.order(shipped_after=30)
        maker.charge(order_sn, "stockout", 500, formed)
        maker.plant("charged_not_expected", order_sn, "stockout", 500)

        kind, order_sn, fen, formed = maker.broken()
        wrong = fen + maker.randrange(1, 200)
        maker.charge(order_sn, kind, wrong, formed)
        maker.plant("amount_differs", order_sn, kind, wrong - fen)

        order_sn, fen, formed = maker.overturned()
        maker.charge(order_sn, "late_shipment", fen, formed)
        maker.plant("not_returned", order_sn, None, fen)

        order_sn, fen, formed = maker.overturned()
        maker.charge(order_sn, "late_shipment", fen, formed)
        maker.charge(order_sn, None, fen, formed + timedelta(days=4))

        order_sn, fen, formed = maker.late()
        maker.charge(order_sn, "late_shipment", fen, formed)
        maker.charge(order_sn, None, fen, formed)
        maker.plant("returned_not_expected", order_sn, None, -fen)
    for _ in range(lines // 10):
        maker.sale()
    while len(maker.bill) < lines:
        kind, order_sn, fen, formed = maker.broken()
        maker.charge(order_sn, kind, fen, formed)
    maker.shuffle()
    return MadeUp(maker.commands, maker.bill, maker.planted)


async def make_shop(url: str, commands: list[tuple[str, Command]]) -> None:
    """Submit a shop's commands; those of one order keep their order. Raises if one is refused."""
    async with Program.running(url, shipped_rules(), worker=None) as program:
        for begin in range(0, len(commands), 1_000):
            intents = [
                OrderCommand(SHOP, order_sn, command, "made up")
                for order_sn, command in commands[begin : begin + 1_000]
            ]
            for intent, outcome in zip(intents, await program.commands.submit(intents), strict=True):
                if isinstance(outcome, Exception):
                    raise outcome
                assert outcome.refusal is None, (intent, outcome.refusal)


def shiplock(url: str, folder: Path, *arguments: str) -> Any:
    """The JSON that a command prints with ``--json``."""
    environment = os.environ | {"SHIPLOCK_DATABASE_URL": url, "SHIPLOCK_DATA_DIR": str(folder)}
    command = [sys.executable, "-c", "from api.cli import main; main()", *arguments, "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)


def reconciled(url: str, folder: Path, bill: list[str]) -> tuple[Any, set[Planted]]:
    """Bring a bill in by the command line, twice. Returns the first report, and the differences."""
    file = folder / "bill.csv"
    file.write_bytes("\r\n".join([HEADER, *bill, ""]).encode("gb18030"))
    report = shiplock(url, folder, "import-bill", str(file), "--shop", SHOP)
    again = shiplock(url, folder, "import-bill", str(file), "--shop", SHOP)
    assert (again["charges"], again["returns"]) == (0, 0), "a bill brought in again adds nothing"
    items = shiplock(url, folder, "reconcile", SHOP)["items"]
    return report, {(d["difference"], d["order_sn"], d["kind"], d["difference_fen"]) for d in items}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reconciliation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    seed = parser.parse_args().seed
    out = Console(highlight=False)
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer.start(Path(folder)) as server:
        migrate(server.url)
        shop = made_up(seed, clock.now())
        asyncio.run(make_shop(server.url, shop.commands))
        report, differences = reconciled(server.url, Path(folder), shop.bill)
    out.print(
        f"A bill of {report['lines_read']:,} lines: {report['charges']} penalties, {report['returns']} returns, "
        f"{report['other']} about something else."
    )
    table = Table("difference", "planted", "found")
    planted, reported = (Counter(difference for difference, *_ in each) for each in (shop.planted, differences))
    for difference in sorted(planted | reported):
        table.add_row(difference.replace("_", " "), str(planted[difference]), str(reported[difference]))
    out.print(table)
    missed, made = shop.planted - differences, differences - shop.planted
    out.print(f"{len(missed)} of the planted were missed, {len(made)} were found that nobody planted.")
    sys.exit(bool(missed or made))


if __name__ == "__main__":
    main()
