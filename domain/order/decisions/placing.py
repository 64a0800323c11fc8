"""How an order begins: it is placed and paid, its group forms or fails, and its ship-by may move."""

from datetime import UTC, datetime

from domain.calendar import iso_seconds
from domain.kernel import FURTHEST_DEADLINE, Refusal
from domain.order import commands as c
from domain.order import events as e
from domain.order.deadlines import ship_by
from domain.order.decisions.action import Action, Decision, by_order
from domain.order.decisions.closing import cannot_change_closed
from domain.order.state import Order
from domain.rules.ruleset import RuleSet

# ---- place ------------------------------------------------------------------------------------------


def cannot_place(order: Order) -> Refusal | None:
    return Refusal("order_exists", "The order was placed already.") if order.is_placed else None


def place(command: c.Place, order: Order, rules: RuleSet, at: datetime) -> Decision:
    """A new order. Placing the same order again changes nothing."""
    lines = tuple(
        e.Line(line.sku_id, line.goods_id, line.name, line.quantity, line.unit_price_fen, line.sku_code or "")
        for line in command.lines
    )
    if not order.is_placed:
        placed = e.OrderPlaced(
            lines,
            command.goods_type,
            command.paid_fen,
            command.group_id,
            command.region,
            command.open_in_festival,
            command.activity,
        )
        return (placed,)
    before = order.placed_lines, order.goods_type, order.group_id
    is_same = (lines, command.goods_type, command.group_id) == before
    optional = (
        (command.paid_fen, order.paid_fen),
        (command.region, order.region),
        (command.open_in_festival, order.open_in_festival),
        (command.activity, order.activity),
    )
    if is_same and all(again in (None, known) for again, known in optional):
        return ()
    return Refusal("order_exists", f"Order {order.order_sn} was already placed, and differently.")


PLACE = Action(
    c.Place,
    place,
    by_order(cannot_place),
    summary="The order is known from here on (201). Without `paid_fen` it waits for payment.",
    example={
        "lines": [
            {
                "sku_id": "52000301",
                "goods_id": "520003",
                "name": "泰国金枕榴莲 1个",
                "quantity": 1,
                "unit_price_fen": 12900,
            }
        ],
        "paid_fen": 12900,
        "occurred_at": "2026-03-02T09:00:00+08:00",
    },
    refusals=("order_exists",),
)

# ---- pay --------------------------------------------------------------------------------------------


def cannot_pay(order: Order) -> Refusal | None:
    if order.paid_at:
        return Refusal("already_paid", f"The order was paid with {order.paid_fen} fen.")
    return cannot_change_closed(order)


def pay(command: c.Pay, order: Order, rules: RuleSet, at: datetime) -> Decision:
    if order.paid_at and order.paid_fen == command.paid_fen:
        return ()
    return cannot_pay(order) or (e.OrderPaid(command.paid_fen),)


PAY = Action(
    c.Pay,
    pay,
    by_order(cannot_pay),
    summary="The buyer paid.",
    example={"paid_fen": 12900},
    refusals=("already_paid", "order_closed"),
    reports=True,
)

# ---- form-group, fail-group -------------------------------------------------------------------------


def cannot_form_group(order: Order) -> Refusal | None:
    if order.group_formed_at:
        return Refusal("group_already_formed", "The group has formed; a moved promise is a changed ship-by.")
    return cannot_change_closed(order)


def form_group(command: c.FormGroup, order: Order, rules: RuleSet, at: datetime) -> Decision:
    """The clock starts. A group forms of paid orders, so this is not refused where no payment is known yet."""
    if order.group_formed_at and command.ship_by in (None, order.promised_ship_by):
        return ()
    if refusal := cannot_form_group(order) or ship_by_out_of_range(command.ship_by, at):
        return refusal
    return (e.GroupFormed(command.ship_by.astimezone(UTC) if command.ship_by else None),)


FORM_GROUP = Action(
    c.FormGroup,
    form_group,
    by_order(cannot_form_group),
    summary="成团: the clock starts. The platform's own `ship_by` wins over the rules.",
    example={"ship_by": "2026-03-04T09:05:00+08:00", "occurred_at": "2026-03-02T09:05:00+08:00"},
    refusals=("group_already_formed", "order_closed"),
    reports=True,
)


def cannot_fail_group(order: Order) -> Refusal | None:
    if order.group_formed_at:
        return Refusal("group_already_formed", "The group has formed; it can't fail any more.")
    return cannot_change_closed(order)


def fail_group(command: c.FailGroup, order: Order, rules: RuleSet, at: datetime) -> Decision:
    if order.group_failed_at:
        return ()
    return cannot_fail_group(order) or (e.GroupFailed(),)


FAIL_GROUP = Action(
    c.FailGroup,
    fail_group,
    by_order(cannot_fail_group),
    summary="The group did not fill; the order ends.",
    example={},
    refusals=("group_already_formed", "order_closed"),
    reports=True,
)

# ---- change-ship-by ---------------------------------------------------------------------------------


def cannot_change_ship_by(order: Order) -> Refusal | None:
    if order.group_formed_at is None and not order.is_closed:
        return Refusal("not_shippable", "The group has not formed yet; no ship-by runs.")
    return cannot_change_closed(order)


def ship_by_out_of_range(promise: datetime | None, since: datetime) -> Refusal | None:
    if promise is None or since < promise <= since + FURTHEST_DEADLINE:
        return None
    return Refusal(
        "invalid_request", "The ship-by must lie after the group's forming, within two years.", "/ship_by"
    )


def change_ship_by(command: c.ChangeShipBy, order: Order, rules: RuleSet, at: datetime) -> Decision:
    """Move the ship-by. The platform may move one that has passed; a buyer's agreement can't."""
    if order.promised_ship_by == command.ship_by:
        return ()
    since = order.group_formed_at or at
    if refusal := cannot_change_ship_by(order) or ship_by_out_of_range(command.ship_by, since):
        return refusal
    current = ship_by(order, rules)
    if command.reason == "buyer_agreed" and current is not None and at > current:
        detail = f"The ship-by passed at {iso_seconds(current)}; a buyer can't agree it away."
        return Refusal("ship_by_passed", detail)
    return (e.ShipByChanged(command.ship_by.astimezone(UTC), command.reason),)


CHANGE_SHIP_BY = Action(
    c.ChangeShipBy,
    change_ship_by,
    by_order(cannot_change_ship_by),
    summary="The ship-by is moved, within two years of the group's forming.",
    example={"ship_by": "2026-03-06T09:05:00+08:00", "reason": "region"},
    refusals=("not_shippable", "ship_by_passed", "order_closed"),
)
