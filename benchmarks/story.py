"""``python -m benchmarks.story``: a SKU sells beyond its stock, and how a shop gets out of it, over HTTP.

The same steps are a test (``tests/api/test_stockout_story.py``). They lie in the last days and are recorded now.
"""

import argparse
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table
from starlette.testclient import TestClient

from api.http.app import create_app
from benchmarks.access import headers, let_in
from domain.calendar import BEIJING
from infrastructure.database.embedded import EmbeddedServer
from infrastructure.database.migrate import migrate

SHOP = "100000001"
SKU = "52000301"
ORDERS = 10
ON_HAND = 7
"""Three orders more than this are sold; four are applied for, to be sure, and one of them is shipped after all."""
APPROVED, REJECTED = (1, 2, 3), 4

Ask = Callable[[str, str, Any], Any]
"""A method, a path below the shop, and a body or parameters; the answer's body. Raises for a refusal."""


class Wrong(Exception):
    """The program does not do what the story says."""


class Outcome(NamedTuple):
    """The answers that the test checks, by their places in the story."""

    board_before: Any
    board_oversold: Any
    case_opened: Any
    at_risk: Any
    board_delisted: Any
    messages: Any
    case_closed: Any
    deadlines: Any
    violations: Any
    report: Any


def number(n: int) -> str:
    return f"story-{n:02d}"


class Story:
    """The steps, each with its time of occurrence. ``say`` gets a sentence about each."""

    def __init__(self, ask: Ask, now: datetime, say: Callable[[str], None] = lambda sentence: None) -> None:
        self._ask = ask
        self._say = say
        self._begin = now - timedelta(hours=47)
        self._position = 0

    def _at(self, hours: float) -> str:
        return (self._begin + timedelta(hours=hours)).isoformat()

    def _do(self, path: str, hours: float, **body: Any) -> Any:
        answer = self._ask("POST", path, body | {"occurred_at": self._at(hours)})
        self._position = max(self._position, answer["position"])
        return answer

    def _order(self, n: int, action: str, hours: float, **body: Any) -> Any:
        return self._do(f"orders/{number(n)}/{action}", hours, **body)

    def _see(self, path: str, **parameters: Any) -> Any:
        return self._ask("GET", path, parameters | {"min_position": self._position})

    def run(self) -> Outcome:
        say = self._say
        self._do(f"skus/{SKU}/count-stock", -1, on_hand=ON_HAND)
        before = self._see(f"skus/{SKU}")
        say(f"{ON_HAND} durians lie in the warehouse; {before['sellable']} may be sold.")

        for n in range(1, ORDERS + 1):
            price = 4_900 + 3_000 * n
            line = {"sku_id": SKU, "goods_id": "520003", "name": "泰国金枕榴莲 1个", "quantity": 1}
            self._order(n, "place", n / 10, lines=[line | {"unit_price_fen": price}], paid_fen=price)
            self._order(n, "form-group", n / 10)
        oversold = self._see(f"skus/{SKU}")
        say(f"{ORDERS} are sold. {oversold['warnings'][0]['detail']}")

        self._order(1, "request-stockout", 6, reason="oversold", sku_ids=[SKU])
        (opened,) = self._see("stockout-cases")["items"]
        at_risk = self._see(f"skus/{SKU}/at-risk")["items"]
        say(
            f"Stockout is applied for on one order. Case {opened['case_id']} opens; {len(at_risk)} more orders are "
            f"at risk, {opened['at_stake_fen'] / 100:.0f} yuan in all; it had to be off the shelf at once: "
            f"{opened['delist']['state']}."
        )

        self._do(f"skus/{SKU}/delist", 6, reason="out of stock")
        delisted = self._see(f"skus/{SKU}")
        say("It is taken off the shelf at once: " + delisted["because"][-1]["detail"])

        for n in (*APPROVED[1:], REJECTED):
            self._order(n, "request-stockout", 6.5, reason="oversold")
        say("Three more are applied for, as the warehouse can not ship them.")

        messages = self._see(f"stockout-cases/{opened['case_id']}/messages")["items"]
        first = {message["order_sn"]: message for message in reversed(messages)}
        for n in range(1, ORDERS + 1):
            self._order(n, "contact-buyer", 7, channel="chat", message=first[number(n)]["text"])
        say(f"All buyers are informed: {first[number(1)]['text']}")

        for n in range(REJECTED + 1, ORDERS + 1):
            self._ship(n, 30)
        for n in APPROVED:
            self._order(n, "complete-review", 40, outcome="approved")
        self._order(REJECTED, "complete-review", 40, outcome="rejected")
        self._ship(REJECTED, 44)
        closed = self._see(f"stockout-cases/{opened['case_id']}")
        counts = ", ".join(f"{count} {standing}" for standing, count in closed["counts"].items() if count)
        say(f"The platform approves three and rejects one, which is shipped in time with the rest: {counts}.")
        say(f"The case is {closed['state']}.")

        deadlines = self._see("deadlines", limit=500)["items"]
        violations = self._see("violations", limit=500)["items"]
        day = self._begin.astimezone(BEIJING).date()
        report = self._see("reports/daily", **{"from": str(day), "to": str(day + timedelta(days=3))})["items"]
        penalties = sum(violation["penalty_fen"] for violation in violations)
        say(f"{len(violations)} violations cost {penalties / 100:.0f} yuan; so say the days' reports.")
        return Outcome(before, oversold, opened, at_risk, delisted, messages, closed, deadlines, violations, report)

    def _ship(self, n: int, hours: float) -> None:
        self._order(n, "upload-tracking", hours, carrier="顺丰速运", tracking_number=f"SF79754254{n:05d}")
        self._order(n, "record-pickup", hours + 2)


def asking(http: TestClient) -> Ask:
    """Send requests over HTTP. Raises ``Wrong`` for a refusal."""

    def ask(method: str, path: str, sent: Any) -> Any:
        url = f"/v1/shops/{SHOP}/{path}"
        answer = http.post(url, json=sent) if method == "POST" else http.get(url, params=sent)
        if answer.status_code >= 400:
            raise Wrong(f"{method} {path}: {answer.text}")
        return answer.json()

    return ask


def main() -> None:
    argparse.ArgumentParser(prog="python -m benchmarks.story", description=__doc__).parse_args()
    out = Console(highlight=False)
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer.start(Path(folder)) as server:
        migrate(server.url)
        key = let_in(server.url, [SHOP])
        with TestClient(create_app(server.url), "http://localhost", headers=headers(key)) as http:
            outcome = Story(
                asking(http), datetime.now(UTC), lambda sentence: out.print(f"[bold]*[/] {sentence}")
            ).run()
    table = Table("order at risk", "ship by", "inform the buyer by", "ways out")
    for order in outcome.at_risk:
        ways = [f"{way['way'].replace('_', ' ')} ¥{way['penalty_fen'] / 100:.0f}" for way in order["ways"]]
        table.add_row(order["order_sn"], order["ship_by"], order["contact"]["due_at"], ", ".join(ways))
    out.print(table)


if __name__ == "__main__":
    main()
