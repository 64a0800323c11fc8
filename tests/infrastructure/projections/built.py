"""The rows of builds, for tests: those that a build has, and those that the log gives."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import msgspec
import psycopg
from hypothesis import strategies as st
from msgspec.structs import replace
from psycopg import sql

from domain.history import Recorded
from domain.kernel import Command
from domain.order import commands as c
from domain.rules.ruleset import RuleBook
from domain.sku import commands as s
from domain.sku.decisions import ACTIONS as SKU_ACTIONS
from infrastructure.commands.committer import CommandPath
from infrastructure.commands.intents import CommandIntent, SkuCommand
from infrastructure.database.pool import Pool, WriteConnection
from infrastructure.log.streams import kind_of
from infrastructure.projections import builds, rebuild, slices
from infrastructure.projections.builds import Build, table_of
from infrastructure.projections.verification import verify
from infrastructure.projections.view import Row, View, judged, make_rows
from infrastructure.projections.views import VIEWS
from infrastructure.runtime.rule_sets import shipped_rules
from tests.orders import LINE, MONDAY_9, SHOP, appeal, order_command, order_sn

BOOK = shipped_rules()

Rows = dict[str, list[Any]]
"""By view."""

NO_ROWS: Rows = {view.name: [] for view in VIEWS}


async def rows(connection: WriteConnection, shop: str = SHOP) -> Rows:
    """All rows of a shop in the active builds."""
    by_view = {}
    for view in VIEWS:
        cursor = await connection.execute(
            f"SELECT * FROM {view.table} WHERE shop_id = %s ORDER BY {view.of.id_column}, 3, 4", (shop,)
        )
        by_view[view.name] = await cursor.fetchall()
    return by_view


async def rows_of(connection: WriteConnection, build: Build) -> Rows:
    """All rows of a build."""
    by_view = {}
    for view in build.declared:
        query = sql.SQL("SELECT * FROM {} ORDER BY shop_id, {}, 3, 4").format(
            table_of(view, build.id), sql.Identifier(view.of.id_column)
        )
        by_view[view.name] = await (await connection.execute(query)).fetchall()
    return by_view


async def equal_to_the_log(connection: WriteConnection) -> None:
    """Check that every live build has, of every order, exactly the rows that come from folding all its events."""
    live = await builds.live(connection, BOOK)
    assert live
    for build in live:
        verification = await verify(connection, build, BOOK, sample=None)
        assert verification.differences == []
        assert verification.checksum == verification.expected


async def build_of(connection: WriteConnection, build_id: int) -> Build:
    build = await builds.find(connection, build_id)
    assert build
    return build


async def active(connection: WriteConnection, name: str = "orders") -> Build:
    return await build_of(connection, (await builds.actives(connection))[name].active)


async def fold_here(url: str, build: Build, book: RuleBook = BOOK) -> None:
    """Work on all of a build's slices in this process, where a test can change what is folded."""

    def fold() -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SET TIME ZONE 'UTC'")
            while slices.work_once(connection, url, build, book):
                pass

    await asyncio.to_thread(fold)


async def rebuilt(
    pool: Pool,
    url: str,
    views: Sequence[View] = VIEWS,
    book: RuleBook = BOOK,
    scope: dict[str, Any] | None = None,
) -> Build:
    """A finished rebuild. Its slices are folded in this process."""
    async with pool.connection() as connection:
        build = await rebuild.request(connection, views, book, scope)
    await fold_here(url, build, book)
    await rebuild.run(pool, url, book, build.id)
    async with pool.connection() as connection:
        return await build_of(connection, build.id)


# ---- random histories -------------------------------------------------------------------------------


class Step(NamedTuple):
    """A command to an order of a shop, or to a SKU. Shop and order are given by number."""

    shop: int
    order: int
    command: Command

    def intent(self, shops: Sequence[str]) -> CommandIntent:
        if type(self.command) in _OF_SKUS:
            return SkuCommand(shops[self.shop], SKU_IDS[self.order % len(SKU_IDS)], self.command, "test")
        return order_command(order_sn(self.order), self.command, shops[self.shop])


SKU_IDS = (LINE.sku_id, "52000302")
_OF_SKUS = {action.command for action in SKU_ACTIONS.values()}


_PLACES = [
    c.Place(lines=(LINE,), paid_fen=12900),
    c.Place(lines=(LINE, replace(LINE, sku_id="52000302", quantity=3)), paid_fen=51600, goods_type="direct_mail"),
    c.Place(lines=(LINE,)),
]
_COMMANDS = [
    *_PLACES,
    c.Pay(paid_fen=12900),
    c.FormGroup(),
    c.FormGroup(ship_by=MONDAY_9 + timedelta(hours=30)),
    c.FailGroup(),
    c.ChangeShipBy(ship_by=MONDAY_9 + timedelta(days=4), reason="festival"),
    c.UploadTracking(carrier="顺丰速运", tracking_number="SF1"),
    c.UploadTracking(carrier="中通快递", tracking_number="ZT2", lines=(c.PackedLine("52000302", 1),)),
    c.ReplaceTracking(carrier="SF", tracking_number="SF3", reason="lost", replaces="SF1"),
    c.HandToSupplier(supplier_id="S-17", expected_tracking_at=MONDAY_9 + timedelta(days=9)),
    c.HandToSupplier(supplier_id="S-18"),
    c.RecordSupplierTracking(carrier="顺丰速运", tracking_number="SF4"),
    c.RecordSupplierStockout(reason="缺货"),
    c.TakeBackFromSupplier(reason="太慢"),
    c.RecordPickup(),
    c.RecordDelivery(),
    c.ConfirmReceipt(),
    c.RequestStockout(reason="oversold"),
    c.CompleteReview(outcome="rejected"),
    c.CompleteReview(outcome="approved"),
    c.PlaceHold(hold="manual", reason="地址不清"),
    c.ReleaseHold(hold="manual", reason="cleared"),
    c.Refund(initiated_by="merchant", reason="out_of_stock"),
    c.Refund(initiated_by="buyer", reason="changed_mind", amount_fen=100),
    c.Cancel(reason="changed_mind"),
    c.ContactBuyer(channel="chat", message="您好"),
    c.FileComplaint(finding="empty_parcel"),
    c.DecideComplaint(outcome="upheld"),
    appeal(order_sn(0)),
    c.DecideAppeal(violation_id=f"{order_sn(0)}:late_shipment", outcome="overturned"),
    s.CountStock(on_hand=7),
    s.CountStock(on_hand=0),
    s.SetCapacity(production_per_day=5, shipping_per_day=9),
    s.Delist(reason="缺货"),
    s.Relist(),
]

HISTORIES = st.lists(
    st.builds(
        lambda shop, order, command, hours: Step(
            shop, order, replace(command, occurred_at=MONDAY_9 + timedelta(hours=hours))
        ),
        st.integers(0, 2),
        st.integers(0, 3),
        st.sampled_from(_PLACES) | st.sampled_from(_COMMANDS),
        st.integers(0, 200),
    ),
    max_size=40,
)
"""Commands to a few orders of a few shops. Many of them are refused, as in reality."""


async def submit(path: CommandPath, steps: Sequence[Step], shops: Sequence[str]) -> None:
    await path.submit([step.intent(shops) for step in steps])


def folded(streams: Mapping[tuple[str, str], Sequence[Recorded[Any]]], book: RuleBook = BOOK) -> Rows:
    """The rows of exactly these events, which are given by shop and stream; as ``rows_of`` returns them."""
    by_view: Rows = {view.name: [] for view in VIEWS}
    for (shop_id, stream), history in sorted(streams.items()):
        kind = kind_of(stream)
        of = kind.id_of(stream)
        subject = judged(kind.fold(of, history), book)
        for view in VIEWS:
            if view.of is kind:
                of_one = [(shop_id, of, *_as_read(view, row)) for row in make_rows(view, subject)]
                by_view[view.name] += sorted(of_one, key=lambda row: row[2:4])
    return by_view


def _as_read(view: View, row: Row) -> list[Any]:
    return [
        msgspec.json.decode(value)
        if column.type == "json" and value is not None
        else list(value)
        if isinstance(value, tuple)
        else value
        for column, value in zip(view.columns, row, strict=True)
    ]
