"""Facts of other streams that decisions and views of an order need: uses of its tracking numbers, and applications.

Views hold these facts. The end of the log that the views have not reached yet is read as well. A batch of commands
adds its own events, so that its later commands know of them.
"""

from bisect import insort
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import NamedTuple

from psycopg.rows import TupleRow

from domain.calendar import beijing_day, beijing_midnight
from domain.history import Recorded
from domain.kernel import Command
from domain.order import events as e
from domain.order.commands import OrderedLine, ReplaceTracking, RequestStockout, UploadTracking
from domain.order.events import Line
from domain.order.state import Order
from domain.order.warnings import RelatedFacts, Use, plain_number
from domain.rules.ruleset import RuleBook
from domain.sku.state import Sku
from domain.sku.state import fold as fold_sku
from domain.stockout.way_out import applications
from domain.viewpoint import Viewpoint, visible
from infrastructure.database.pool import ReadConnection
from infrastructure.log.codec import AnyEvent, UnreadableEvent, decode_event, decode_metadata
from infrastructure.log.columns import Column, Texts, Times
from infrastructure.log.log import read_histories
from infrastructure.log.streams import OF_ORDER, OF_SKU
from infrastructure.projections.views import APPLICATIONS, PARCELS

TAIL = 2_000
"""How many positions that views have not reached are read at the end of a log. Earlier ones show later."""

MOST_FILED = 2_000
"""How many applications of a day are read."""

_LAST_USES = 5
"""How many uses of a number before a moment are read, so that another order's is among them."""

_USES = f"""
SELECT w.shop_id, p.tracking_number, p.order_sn, p.uploaded_at
FROM unnest(%(shop_ids)b, %(numbers)b, %(until)b) AS w(shop_id, tracking_number, until)
CROSS JOIN LATERAL (
    SELECT tracking_number, order_sn, uploaded_at FROM {PARCELS.table} l
    WHERE l.shop_id = w.shop_id AND l.tracking_number = w.tracking_number AND l.uploaded_at <= w.until
    ORDER BY l.uploaded_at DESC LIMIT {_LAST_USES}
) p
"""

_FILED = f"""
SELECT w.shop_id, a.order_sn, a.position, a.requested_at
FROM unnest(%(shop_ids)b, %(since)b) AS w(shop_id, since)
CROSS JOIN LATERAL (
    SELECT DISTINCT order_sn, position, requested_at FROM {APPLICATIONS.table} l
    WHERE l.shop_id = w.shop_id AND l.requested_at >= w.since AND l.requested_at < w.since + interval '24 hours'
      AND l.time_known
    LIMIT {MOST_FILED}
) a
"""

# For a shop without a checkpoint of both views the tail is all of its log that TAIL allows.
_TAIL = f"""
SELECT h.shop_id, t.stream, t.position, t.version, t.type, t.schema_version, t.occurred_at, t.recorded_at,
       t.payload, t.metadata
FROM shop_log h
CROSS JOIN LATERAL (
    SELECT CASE WHEN count(*) = 2 THEN min(c.position) ELSE 0 END AS position
    FROM checkpoint c JOIN projection p ON c.reader = 'build:' || p.active
    WHERE c.shop_id = h.shop_id AND p.name IN ('{PARCELS.name}', '{APPLICATIONS.name}')
) reached
CROSS JOIN LATERAL (
    SELECT * FROM event e
    WHERE e.shop_id = h.shop_id AND e.position > greatest(reached.position, h.position - {TAIL})
    ORDER BY e.position LIMIT {TAIL}
) t
WHERE h.shop_id = ANY (%(shop_ids)b) AND t.type IN ('TrackingUploaded', 'TrackingReplaced', 'StockoutRequested')
"""


_NEEDS_RELATED_FACTS = (UploadTracking, ReplaceTracking, RequestStockout)
"""The commands whose decisions depend on other orders' numbers and applications."""


class RelatedFactsRequest(NamedTuple):
    """Which facts an order needs: uses of plain numbers until a moment, and applications of days."""

    shop_id: str
    numbers: Sequence[tuple[str, datetime]]
    days: Sequence[datetime]


class _Filed(NamedTuple):
    """An application. ``position`` is its place in the log, and ``None`` when it is not in the log yet."""

    order_sn: str
    requested_at: datetime
    position: int | None


def needs_no_related_facts(order: Order, command: Command | None = None) -> bool:
    """Whether an order, and a command to it, can do without: no parcel, no application, and none to be added.

    Most commands can, and this check is quick.
    """
    return not order.parcels and not order.reviews and not isinstance(command, _NEEDS_RELATED_FACTS)


def related_facts_request(
    shop_id: str, order: Order, now: datetime, command: Command | None = None
) -> RelatedFactsRequest | None:
    """Which facts an order needs, and a command to it. ``None`` when they need none."""
    if needs_no_related_facts(order, command):
        return None
    numbers = [
        (plain_number(parcel.tracking_number), parcel.uploaded_at)
        for parcel in order.current_parcels
        if parcel.tracking_number
    ]
    days = [_day(order.open_review.requested_at)] if order.open_review else []
    if command is not None:
        at = command.occurred_at if isinstance(command.occurred_at, datetime) else now
        if isinstance(command, UploadTracking | ReplaceTracking):
            numbers.append((plain_number(command.tracking_number), max(at, order.last_occurred_at or at)))
        elif isinstance(command, RequestStockout):
            days.append(_day(at))
    return RelatedFactsRequest(shop_id, numbers, days) if numbers or days else None


def related_sku_ids(order: Order, command: Command, lines: Iterable[Line | OrderedLine]) -> list[str]:
    """The SKUs that an order applied for, and those that a command may apply for: the ones of ``lines``."""
    if not order.reviews and type(command) is not RequestStockout:
        return []
    sku_ids = [sku_id for review in order.reviews for sku_id in order.applied_for(review)]
    if type(command) is RequestStockout:
        sku_ids += [line.sku_id for line in lines]
    return sku_ids


class RelatedFactsIndex:
    """Uses of tracking numbers and applications of some shops."""

    def __init__(self) -> None:
        self._uses: dict[tuple[str, str], set[tuple[str, datetime]]] = {}
        self._filed: dict[tuple[str, datetime], dict[object, _Filed]] = {}
        self._filed_at: dict[tuple[str, datetime], list[datetime]] = {}

    def add(
        self, shop_id: str, order_sn: str, event: object, occurred_at: datetime, position: int | None = None
    ) -> None:
        """Add an event of an order. ``position`` is ``None`` when it is not in the log yet."""
        if isinstance(event, e.TrackingUploaded | e.TrackingReplaced):
            number = plain_number(event.tracking_number)
            self._uses.setdefault((shop_id, number), set()).add((order_sn, occurred_at))
        elif isinstance(event, e.StockoutRequested):
            self._file(shop_id, _Filed(order_sn, occurred_at, position))

    def add_recorded(self, shop_id: str, order_sn: str, recorded: Recorded[AnyEvent]) -> None:
        """Add an event of a history. Nobody knows the day of an application that was merely observed."""
        if not (isinstance(recorded.event, e.StockoutRequested) and recorded.metadata.observed):
            position = recorded.position or None
            self.add(shop_id, order_sn, recorded.event, recorded.occurred_at, position)

    def include(self, other: "RelatedFactsIndex", requests: Iterable[RelatedFactsRequest]) -> None:
        """Add the facts of another index that the requests name."""
        numbers = {(request.shop_id, number) for request in requests for number, _ in request.numbers}
        for number in numbers & other._uses.keys():
            self._uses.setdefault(number, set()).update(other._uses[number])
        for shop_id, day in {(request.shop_id, day) for request in requests for day in request.days}:
            for filed in other._filed.get((shop_id, day), {}).values():
                self._file(shop_id, filed)

    @property
    def orders(self) -> set[str]:
        """All orders with a fact in this index."""
        users = {order_sn for uses in self._uses.values() for order_sn, _ in uses}
        return users | {filed.order_sn for of_day in self._filed.values() for filed in of_day.values()}

    def facts_of(
        self, shop_id: str, order: Order, command: Command | None, skus: Mapping[str, Sku]
    ) -> RelatedFacts:
        """The facts that an order needs, or a command to it."""
        numbers = {plain_number(parcel.tracking_number) for parcel in order.current_parcels}
        if isinstance(command, UploadTracking | ReplaceTracking):
            numbers.add(plain_number(command.tracking_number))
        uses = [
            Use(number, order_sn, uploaded_at)
            for number in numbers
            for order_sn, uploaded_at in self._uses.get((shop_id, number), ())
        ]
        return RelatedFacts(skus, uses, self._filed_before(shop_id, order, command))

    def _filed_before(self, shop_id: str, order: Order, command: Command | None) -> Sequence[datetime]:
        """When the applications were filed that stand before the order's own in the log: all, if it has none."""
        review = order.open_review
        if review is None:
            of_shop = [at for (shop, _), at in self._filed_at.items() if shop == shop_id]
            if not of_shop or not isinstance(command, RequestStockout):
                return ()
            return of_shop[0].copy() if len(of_shop) == 1 else sorted(chain.from_iterable(of_shop))
        of_day = self._filed.get((shop_id, _day(review.requested_at)), {})
        own = (order.order_sn, review.requested_at)
        place = next((f.position for f in of_day.values() if (f.order_sn, f.requested_at) == own), None)
        return sorted(
            filed.requested_at
            for filed in of_day.values()
            if (filed.order_sn, filed.requested_at) != own
            and (place is None or (filed.position is not None and filed.position < place))
        )

    def _file(self, shop_id: str, filed: _Filed) -> None:
        day = (shop_id, _day(filed.requested_at))
        of_day = self._filed.setdefault(day, {})
        name = filed.position or (filed.order_sn, filed.requested_at)
        if name not in of_day:
            insort(self._filed_at.setdefault(day, []), filed.requested_at)
        of_day[name] = filed

    def add_rows(
        self, tail: Iterable[TupleRow], uses: Iterable[TupleRow] = (), filed: Iterable[TupleRow] = ()
    ) -> None:
        """Add the rows of the queries."""
        for shop_id, number, order_sn, uploaded_at in uses:
            self._uses.setdefault((shop_id, number), set()).add((order_sn, uploaded_at))
        for shop_id, order_sn, position, requested_at in filed:
            self._file(shop_id, _Filed(order_sn, requested_at, position))
        for shop_id, stream, position, version, name, schema, occurred_at, recorded_at, payload, metadata in tail:
            try:
                event, origin = decode_event(name, schema, payload), decode_metadata(metadata)
            except UnreadableEvent:
                continue
            recorded = Recorded(event, version, position, occurred_at, recorded_at, origin)
            self.add_recorded(shop_id, OF_ORDER.id_of(stream), recorded)


ReadRelatedFacts = Callable[[ReadConnection, Sequence[RelatedFactsRequest]], Awaitable[RelatedFactsIndex]]


async def read_no_related_facts(
    connection: ReadConnection, requests: Sequence[RelatedFactsRequest]
) -> RelatedFactsIndex:
    """For callers that need no warnings, or have no views."""
    return RelatedFactsIndex()


async def related_facts_at(
    connection: ReadConnection,
    request: RelatedFactsRequest,
    viewpoint: Viewpoint,
) -> RelatedFactsIndex:
    """The facts that an order needs as of another moment, from the events that may be seen from it."""
    index = RelatedFactsIndex()
    orders = (await read_related_facts(connection, [request])).orders
    streams = [(request.shop_id, OF_ORDER.stream(order_sn)) for order_sn in orders]
    for (shop_id, stream), history in (await read_histories(connection, streams)).items():
        for recorded in visible(history, viewpoint):
            index.add_recorded(shop_id, OF_ORDER.id_of(stream), recorded)
    return index


async def read_related_facts(
    connection: ReadConnection, requests: Sequence[RelatedFactsRequest]
) -> RelatedFactsIndex:
    """Read the facts that the requests name, in one round trip."""
    index = RelatedFactsIndex()
    if not requests:
        return index
    numbers = list({(request.shop_id, *number) for request in requests for number in request.numbers})
    days = list({(request.shop_id, day) for request in requests for day in request.days})
    queries: dict[str, tuple[str, dict[str, Column]]] = {
        "tail": (_TAIL, {"shop_ids": Texts(dict.fromkeys(request.shop_id for request in requests))})
    }
    if numbers:
        shop_ids, used, until = zip(*numbers, strict=True)
        queries["uses"] = _USES, {"shop_ids": Texts(shop_ids), "numbers": Texts(used), "until": Times(until)}
    if days:
        shop_ids, since = zip(*days, strict=True)
        queries["filed"] = _FILED, {"shop_ids": Texts(shop_ids), "since": Times(since)}
    cursors = {name: connection.cursor(binary=True) for name in queries}
    async with connection.pipeline():
        for name, query in queries.items():
            await cursors[name].execute(*query)
    index.add_rows(**{name: await cursor.fetchall() for name, cursor in cursors.items()})
    return index


async def related_facts_of_applications(
    connection: ReadConnection, shop_id: str, book: RuleBook, orders: Sequence[tuple[Order, datetime]]
) -> list[RelatedFacts]:
    """The facts that an application for each of these orders would need, where it is a way out at that moment."""
    requests = [
        RelatedFactsRequest(
            shop_id, (), [_day(filed_at) for filed_at in applications(order, book.governing(order), at).values()]
        )
        for order, at in orders
    ]
    index = await read_related_facts(connection, [request for request in requests if request.days])
    skus = await _read_skus(connection, shop_id, (order for order, _ in orders))
    apply = RequestStockout(reason="oversold")
    return [index.facts_of(shop_id, order, apply, skus) for order, _ in orders]


async def _read_skus(connection: ReadConnection, shop_id: str, orders: Iterable[Order]) -> Mapping[str, Sku]:
    """The SKUs of some orders as they are now, by their ids."""
    sku_ids = {line.sku_id for order in orders for line in order.lines}
    histories = await read_histories(connection, [(shop_id, OF_SKU.stream(sku_id)) for sku_id in sku_ids])
    return {
        OF_SKU.id_of(stream): fold_sku(OF_SKU.id_of(stream), history) for (_, stream), history in histories.items()
    }


def _day(at: datetime) -> datetime:
    """When the Beijing day of a moment began."""
    return beijing_midnight(beijing_day(at))
