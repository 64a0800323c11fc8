"""``order``, ``history``, ``diff`` and ``report``: one order, and a shop's days, from the command line."""

from datetime import datetime
from typing import Annotated

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from api.cli.terminal import (
    AsOf,
    FirstDay,
    Json,
    KnownAt,
    LastDay,
    OrderArgument,
    ShopArgument,
    folding,
    moment,
    out,
    period_of,
    print_json,
    read_log,
    read_views,
    shown,
    with_program,
    yuan,
)
from api.program import Program
from domain.money.daily_report import DailyReport
from domain.order.diff import By, OrderDiff
from domain.order.view import OrderView, ViolationView
from domain.rules.ruleset import RuleBook
from domain.viewpoint import Viewpoint
from infrastructure.database.pool import ReadConnection
from infrastructure.queries.event_json import StoredEventView
from infrastructure.queries.orders import DiffRequest, find_order, order_diff, order_history
from infrastructure.queries.reports import daily_report, daily_report_at
from infrastructure.runtime import clock

_BRIEF = 120


def order(
    shop: ShopArgument,
    number: OrderArgument,
    as_of: AsOf = None,
    known_at: KnownAt = None,
    at_version: Annotated[int | None, typer.Option(min=1, help="After so many events.")] = None,
    as_json: Json = False,
) -> None:
    """One order: status, locks, deadlines, violations, and what may be done."""

    viewpoint = Viewpoint(as_of, known_at, at_version)

    async def read(connection: ReadConnection, book: RuleBook) -> OrderView:
        return await find_order(connection, shop, number, book, viewpoint, clock.now())

    view = read_log(read)
    if as_json:
        print_json(view)
    else:
        print_order(view)


def history(shop: ShopArgument, number: OrderArgument, as_json: Json = False) -> None:
    """What happened to an order, event by event."""

    async def read(connection: ReadConnection, _: RuleBook) -> list[StoredEventView]:
        return (await order_history(connection, shop, number)).items

    events = read_log(read)
    if as_json:
        print_json(events)
        return
    table = Table("version", "position", "occurred", "recorded", "event", "what", "actor")
    for event in events:
        payload = msgspec.json.decode(event.payload)
        what = ", ".join(f"{name}={value}" for name, value in payload.items() if name not in ("type", "lines"))
        table.add_row(
            str(event.version),
            str(event.position),
            shown(event.occurred_at),
            shown(event.recorded_at),
            event.type,
            what,
            event.actor,
        )
    out.print(table)


def diff(
    shop: ShopArgument,
    number: OrderArgument,
    since: Annotated[str, typer.Argument(metavar="FROM", help="A version or a time.")],
    until: Annotated[str, typer.Argument(metavar="TO", help="A version or a time.")],
    by: Annotated[By, typer.Option(help="Between times: by what had happened, or by what was known.")] = "as_of",
    as_of: AsOf = None,
    known_at: KnownAt = None,
    as_json: Json = False,
) -> None:
    """Which event changed which field of an order between two moments."""
    first, last = (each if each.isdecimal() else moment(each).isoformat() for each in (since, until))
    request = DiffRequest(since=first, until=last, by=by, as_of=as_of, known_at=known_at)

    async def read(connection: ReadConnection, book: RuleBook) -> OrderDiff:
        return await order_diff(connection, shop, number, book, request, clock.now())

    difference = read_log(read)
    if as_json:
        print_json(difference)
        return
    table = Table("version", "event", "occurred", "recorded", "field", "before", "after")
    for change in difference.changes:
        table.add_row(
            str(change.version or "-"),
            change.event or "(time passed)",
            shown(change.occurred_at),
            shown(change.recorded_at),
            change.field,
            _brief(change.before),
            _brief(change.after),
        )
    out.print(table)


def _brief(value: object) -> str:
    """A value of a table's cell; what is nested is cut short, for ``--json`` shows it whole."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= _BRIEF else f"{text[:_BRIEF]}…"


def report(
    shop: ShopArgument,
    since: FirstDay = None,
    until: LastDay = None,
    as_of: AsOf = None,
    known_at: KnownAt = None,
    as_json: Json = False,
) -> None:
    """The days of a shop in Beijing: orders formed, shipped on time, late, rules broken, penalties."""
    now = clock.now()
    viewpoint = Viewpoint(as_of, known_at)
    period = period_of(since, until, viewpoint.judged_at(now))

    async def fold(program: Program) -> DailyReport:
        with folding(shop) as on_progress:
            return await daily_report_at(
                program.url, shop, program.book, period, viewpoint, now, on_progress=on_progress
            )

    async def read(connection: ReadConnection, _: RuleBook, __: datetime) -> DailyReport:
        return await daily_report(connection, shop, period, now)

    daily = read_views(shop, read) if viewpoint.is_now else with_program(fold)
    if as_json:
        print_json(daily)
        return
    table = Table("day", "formed", "on time", "late", "rate", "stockouts", "false", "fraudulent", "penalties")
    for shown_day in daily.items:
        rate = "-" if shown_day.on_time_rate is None else f"{shown_day.on_time_rate:.1%}"
        table.add_row(
            shown_day.day.isoformat(),
            str(shown_day.orders_formed),
            str(shown_day.shipped_on_time),
            str(shown_day.late),
            rate,
            str(shown_day.stockouts),
            str(shown_day.false_shipments),
            str(shown_day.fraudulent_shipments),
            yuan(shown_day.penalties_fen),
        )
    out.print(table)
    total = yuan(sum(each.penalties_fen for each in daily.items))
    unknown = f" and {daily.unknown_penalties} whose amount isn't known" if daily.unknown_penalties else ""
    out.print(f"{sum(each.orders_formed for each in daily.items)} orders formed, penalties of {total}{unknown}")


def print_order(view: OrderView) -> None:
    out.print(Text.assemble((view.order_sn, "bold"), f"  {view.status}  version {view.version}"))
    for line in view.lines:
        out.print(f"  {line.quantity} x {line.name} ({line.sku_id})")
    out.print(
        f"paid {yuan(view.paid_fen)}, group formed {shown(view.group_formed_at)}, ship by {shown(view.ship_by)}"
    )
    for hold in view.shipment_lock.holds:
        expected = hold.expected_decision
        window = f", decision {shown(expected.earliest)} to {shown(expected.latest)}" if expected else ""
        out.print(Text.assemble(("locked", "yellow"), f" by {hold.hold} since {shown(hold.since)}{window}"))
    for parcel in view.parcels:
        kind = "parcel" if parcel.kind == "order" else parcel.kind
        out.print(f"{kind} {parcel.carrier} {parcel.tracking_number}, uploaded {shown(parcel.uploaded_at)}")
    if view.deadlines:
        table = Table("deadline", "due", "met", "state")
        for deadline in view.deadlines:
            table.add_row(deadline.kind, shown(deadline.due_at), shown(deadline.met_at), deadline.state)
        out.print(table)
    for violation in view.violations:
        cause = f" ({violation.cause})" if violation.cause else ""
        since = f"{cause} since {shown(violation.arose_at)}, {yuan(violation.penalty_fen)}"
        out.print(Text.assemble((violation.kind, "red"), f"{since}, appeal {dispute(violation)}"))
    for complaint in view.complaints:
        evidence = f": {complaint.evidence}" if complaint.evidence else ""
        out.print(f"complaint of {complaint.finding}, {complaint.outcome or 'open'}{evidence}")
    for warning in view.warnings:
        out.print(f"warning {warning.code}: {warning.detail}")
    for anomaly in view.anomalies:
        out.print(f"anomaly {anomaly.code}: {anomaly.expected} here, {anomaly.seen} there")
    allowed = [action.action for action in view.allowed_actions if action.allowed]
    out.print(f"allowed: {', '.join(allowed) or 'nothing'}")


def dispute(violation: ViolationView) -> str:
    """How far the appeal against a violation is, or until when one can be made."""
    if violation.appeal is None:
        return f"by {shown(violation.appeal_by)}"
    return violation.appeal.outcome or "open"
