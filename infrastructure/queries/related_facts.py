"""What lies around an order: who used its tracking numbers before, and what else was applied for that day.

Views know of it, and the end of the log that they have not reached yet is read beside them. What is told in one
batch is known to what comes after it in the batch.
"""

from bisect import insort
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime, time
from itertools import chain
from typing import NamedTuple

from psycopg.rows import TupleRow

from domain.calendar import BEIJING
from domain.history import Recorded, visible
from domain.kernel import Command
from domain.order import events as e
from domain.order.commands import ReplaceTracking, RequestStockout, UploadTracking
from domain.order.state import Order
from domain.order.warnings import RelatedFacts, Use, plain_number
from domain.rules.ruleset import RuleBook
from domain.sku.state import Sku
from domain.sku.state import fold as fold_sku
from domain.stockout.way_out import applications
from infrastructure.database.pool import ReadConnection
from infrastructure.log.codec import AnyEvent, UnreadableEvent, decode_event, decode_metadata
from infrastructure.log.columns import Column, Texts, Times
from infrastructure.log.log import read_histories
from infrastructure.log.streams import OF_ORDER, OF_SKU
from infrastructure.projections.views import APPLICATIONS, PARCELS

TAIL = 2_000
"""How many positions that views have not reached are read at the end of a log; what lies before shows later."""

MOST_FILED = 2_000
"""How many applications of a day are looked at."""

_LAST_USES = 5
"""How many uses of a number before a moment are looked at, so that another order's is among them."""

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

# A shop without a checkpoint for both views has been seen up to nowhere.
_TAIL = f"""
SELECT h.shop_id, t.stream, t.position, t.version, t.type, t.schema_version, t.occurred_at, t.recorded_at,
       t.payload, t.metadata
FROM shop_log h
CROSS JOIN LATERAL (
    SELECT CASE WHEN count(*) = 2 THEN min(c.position) ELSE 0 END AS position
    FROM checkpoint c JOIN projection p ON c.reader = 'build:' || p.active
    WHERE c.shop_id = h.shop_id AND p.name IN ('{PARCELS.name}', '{APPLICATIONS.name}')
) seen
CROSS JOIN LATERAL (
    SELECT * FROM event e
    WHERE e.shop_id = h.shop_id AND e.position > greatest(seen.position, h.position - {TAIL})
    ORDER BY e.position LIMIT {TAIL}
) t
WHERE h.shop_id = ANY (%(shop_ids)b) AND t.type IN ('TrackingUploaded', 'TrackingReplaced', 'StockoutRequested')
"""


_REACHING_OUT = (UploadTracking, ReplaceTracking, RequestStockout)
"""The commands that others' numbers and applications matter to."""


class RelatedFactsRequest(NamedTuple):
    """What is to be known around an order: uses of plain numbers until a moment, and applications of days."""

    shop_id: str
    numbers: Sequence[tuple[str, datetime]]
    days: Sequence[datetime]


class _Filed(NamedTuple):
    """An application; ``position`` is its place in the log, ``None`` for one of the batch."""

    order_sn: str
    requested_at: datetime
    position: int | None


def needs_no_related_facts(order: Order, command: Command | None = None) -> bool:
    """Whether nothing around an order can matter, to it or to a command: no parcel, no application, and none to be.

    It is so with most that is told, and quickly asked.
    """
    return not order.parcels and not order.reviews and not isinstance(command, _REACHING_OUT)


def related_facts_request(
    shop_id: str, order: Order, now: datetime, command: Command | None = None
) -> RelatedFactsRequest | None:
    """What matters to an order, and to a command to it; ``None`` where nothing does, as with most."""
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


class RelatedFactsIndex:
    """What was found, and what is learned on the way."""

    def __init__(self) -> None:
        self._uses: dict[tuple[str, str], set[tuple[str, datetime]]] = {}
        self._filed: dict[tuple[str, datetime], dict[object, _Filed]] = {}
        self._filed_at: dict[tuple[str, datetime], list[datetime]] = {}

    def learn(
        self, shop_id: str, order_sn: str, event: object, occurred_at: datetime, position: int | None = None
    ) -> None:
        """An event of an order, at its place in the log if it has one yet."""
        if isinstance(event, e.TrackingUploaded | e.TrackingReplaced):
            number = plain_number(event.tracking_number)
            self._uses.setdefault((shop_id, number), set()).add((order_sn, occurred_at))
        elif isinstance(event, e.StockoutRequested):
            self._file(shop_id, _Filed(order_sn, occurred_at, position))

    def read(self, shop_id: str, order_sn: str, told: Recorded[AnyEvent]) -> None:
        """An event of the log. An application that was merely seen was filed on a day nobody knows."""
        if not (isinstance(told.event, e.StockoutRequested) and told.metadata.observed):
            self.learn(shop_id, order_sn, told.event, told.occurred_at, told.position)

    @property
    def orders(self) -> set[str]:
        """All that anything was found of."""
        users = {order_sn for uses in self._uses.values() for order_sn, _ in uses}
        return users | {filed.order_sn for of_day in self._filed.values() for filed in of_day.values()}

    def facts_of(
        self, shop_id: str, order: Order, command: Command | None, skus: Mapping[str, Sku]
    ) -> RelatedFacts:
        """What lies around an order, or around a command to it."""
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
        """When others were filed that the log had before the order's own: all that are known, if it has none."""
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
        """What queries found."""
        for shop_id, number, order_sn, uploaded_at in uses:
            self._uses.setdefault((shop_id, number), set()).add((order_sn, uploaded_at))
        for shop_id, order_sn, position, requested_at in filed:
            self._file(shop_id, _Filed(order_sn, requested_at, position))
        for shop_id, stream, position, version, name, schema, occurred_at, recorded_at, payload, metadata in tail:
            try:
                event, origin = decode_event(name, schema, payload), decode_metadata(metadata)
            except UnreadableEvent:
                continue
            told = Recorded(event, version, position, occurred_at, recorded_at, origin)
            self.read(shop_id, OF_ORDER.id_of(stream), told)


ReadRelatedFacts = Callable[[ReadConnection, Sequence[RelatedFactsRequest]], Awaitable[RelatedFactsIndex]]


async def read_no_related_facts(
    connection: ReadConnection, asked: Sequence[RelatedFactsRequest]
) -> RelatedFactsIndex:
    """For who does not care, or has no views to ask."""
    return RelatedFactsIndex()


async def related_facts_at(
    connection: ReadConnection,
    asked: RelatedFactsRequest,
    *,
    as_of: datetime | None = None,
    known_at: datetime | None = None,
) -> RelatedFactsIndex:
    """What lay around an order at another moment, from the events that may be seen from it."""
    seen = RelatedFactsIndex()
    numbers = (await read_related_facts(connection, [asked])).orders
    streams = [(asked.shop_id, OF_ORDER.stream(number)) for number in numbers]
    for (shop_id, stream), history in (await read_histories(connection, streams)).items():
        for told in visible(history, as_of=as_of, known_at=known_at):
            seen.read(shop_id, OF_ORDER.id_of(stream), told)
    return seen


async def read_related_facts(connection: ReadConnection, asked: Sequence[RelatedFactsRequest]) -> RelatedFactsIndex:
    """Read what is wanted, in one round trip."""
    found = RelatedFactsIndex()
    if not asked:
        return found
    numbers = list({(each.shop_id, *number) for each in asked for number in each.numbers})
    days = list({(each.shop_id, day) for each in asked for day in each.days})
    questions: dict[str, tuple[str, dict[str, Column]]] = {
        "tail": (_TAIL, {"shop_ids": Texts(dict.fromkeys(each.shop_id for each in asked))})
    }
    if numbers:
        shop_ids, used, until = zip(*numbers, strict=True)
        questions["uses"] = _USES, {"shop_ids": Texts(shop_ids), "numbers": Texts(used), "until": Times(until)}
    if days:
        shop_ids, since = zip(*days, strict=True)
        questions["filed"] = _FILED, {"shop_ids": Texts(shop_ids), "since": Times(since)}
    cursors = {name: connection.cursor(binary=True) for name in questions}
    async with connection.pipeline():
        for name, question in questions.items():
            await cursors[name].execute(*question)
    found.add_rows(**{name: await cursor.fetchall() for name, cursor in cursors.items()})
    return found


async def related_facts_of_applications(
    connection: ReadConnection, shop_id: str, book: RuleBook, orders: Sequence[tuple[Order, datetime]]
) -> list[RelatedFacts]:
    """What would lie around an application for each of these orders, where it is a way out at that moment."""
    asked = [
        RelatedFactsRequest(
            shop_id, (), [_day(filed_at) for filed_at in applications(order, book.governing(order), at).values()]
        )
        for order, at in orders
    ]
    others = await read_related_facts(connection, [each for each in asked if each.days])
    skus = await read_skus(connection, shop_id, (order for order, _ in orders))
    apply = RequestStockout(reason="oversold")
    return [others.facts_of(shop_id, order, apply, skus) for order, _ in orders]


async def read_skus(connection: ReadConnection, shop_id: str, orders: Iterable[Order]) -> Mapping[str, Sku]:
    """The SKUs of some orders as they are by now, by their ids."""
    names = {line.sku_id for order in orders for line in order.lines}
    histories = await read_histories(connection, [(shop_id, OF_SKU.stream(name)) for name in names])
    return {
        OF_SKU.id_of(stream): fold_sku(OF_SKU.id_of(stream), history) for (_, stream), history in histories.items()
    }


def _day(at: datetime) -> datetime:
    """When the Beijing day of a moment began."""
    return datetime.combine(at.astimezone(BEIJING).date(), time(), BEIJING)
