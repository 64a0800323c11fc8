"""One order of a shop: as it stood at a moment, its history, and what changed between two moments."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from domain.history import Recorded
from domain.order.diff import By, OrderDiff, diff
from domain.order.events import OrderEvent
from domain.order.order_at import OrderAt, order_at
from domain.order.view import OrderView, view
from domain.rules.ruleset import RuleBook
from domain.viewpoint import Viewpoint
from infrastructure.database.pool import ReadConnection
from infrastructure.log.loading import OrderHistory, read_orders
from infrastructure.log.log import read_stream
from infrastructure.log.streams import OF_ORDER
from infrastructure.queries.errors import NoSuchVersion, UnknownOrder, WrongParameter
from infrastructure.queries.event_json import StoredEventView, VersionKey, page_of_history
from infrastructure.queries.moments import parse_moment
from infrastructure.queries.paging import Cursor, Page
from infrastructure.queries.related_facts import (
    RelatedFactsIndex,
    read_related_facts,
    related_facts_at,
    related_facts_request,
)


async def find_order(
    connection: ReadConnection, shop_id: str, order_sn: str, book: RuleBook, viewpoint: Viewpoint, now: datetime
) -> OrderView:
    """One order at a viewpoint, folded from its events, so it is never behind.

    Raises ``UnknownOrder``, and ``NoSuchVersion`` for a version that it does not have.
    """
    history = (await read_orders(connection, shop_id, [order_sn]))[order_sn]
    if history.order and viewpoint.at_version is not None:
        _check_version("at_version", viewpoint.at_version, history.order)
    at = await _order_at(connection, shop_id, order_sn, history, viewpoint, now)
    if not at.order.is_known:
        raise UnknownOrder(order_sn, by_then=bool(history.order))
    return view(at.order, book, at.judged_at, at.related_facts)


async def order_history(
    connection: ReadConnection,
    shop_id: str,
    order_sn: str,
    limit: int | None = None,
    cursor: Cursor[VersionKey] | None = None,
) -> Page[StoredEventView, VersionKey]:
    """What happened to an order, event by event. Raises ``UnknownOrder``."""
    history = await read_stream(connection, shop_id, OF_ORDER.stream(order_sn))
    if not history:
        raise UnknownOrder(order_sn)
    return page_of_history(history, limit, cursor)


class DiffRequest(msgspec.Struct, frozen=True, kw_only=True):
    """From where to where: two versions, or two times. ``by`` says which of its times decides of an event.

    ``as_of`` or ``known_at`` holds the other time at both ends.
    """

    since: str
    until: str
    by: By = "as_of"
    as_of: datetime | None = None
    known_at: datetime | None = None


async def order_diff(
    connection: ReadConnection, shop_id: str, order_sn: str, book: RuleBook, request: DiffRequest, now: datetime
) -> OrderDiff:
    """Which event changed which field of an order. Raises ``UnknownOrder`` and ``WrongParameter``."""
    history = (await read_orders(connection, shop_id, [order_sn]))[order_sn]
    if not history.order:
        raise UnknownOrder(order_sn)
    ends = _version_or_time(request.since, "from"), _version_or_time(request.until, "to")
    first, last = [
        await _order_at(connection, shop_id, order_sn, history, viewpoint, now)
        for viewpoint in _viewpoints(*ends, request, history.order)
    ]
    changes = diff(order_sn, book, first, last)
    return OrderDiff(order_sn, *ends, request.by, request.as_of, request.known_at, changes)


def _viewpoints(
    since: int | datetime, until: int | datetime, request: DiffRequest, history: Sequence[Recorded[OrderEvent]]
) -> tuple[Viewpoint, Viewpoint]:
    """Both ends of a difference. Raises ``WrongParameter``."""
    match since, until:
        case int(), int():
            _check_version("from", since, history)
            _check_version("to", until, history)
            if request.known_at:
                raise WrongParameter("known_at", "a version says what was known; `as_of` goes with it")
            backwards = since > until
            ends = Viewpoint(request.as_of, at_version=since), Viewpoint(request.as_of, at_version=until)
        case datetime(), datetime():
            by = request.by
            other = "known_at" if by == "as_of" else "as_of"
            if getattr(request, by):
                raise WrongParameter(by, f"`from` and `to` say it already; `{other}` goes with `by={by}`")
            backwards = since > until
            if by == "as_of":
                ends = Viewpoint(since, request.known_at), Viewpoint(until, request.known_at)
            else:
                ends = Viewpoint(request.as_of, since), Viewpoint(request.as_of, until)
        case _:
            raise WrongParameter("to", "`from` and `to` must both be versions or both be times")
    if backwards:
        raise WrongParameter("to", "`to` must not be before `from`")
    return ends


async def _order_at(
    connection: ReadConnection,
    shop_id: str,
    order_sn: str,
    history: OrderHistory,
    viewpoint: Viewpoint,
    now: datetime,
) -> OrderAt:
    """The order at a viewpoint, with the related facts of then."""
    at = order_at(viewpoint, order_sn, history.order, now)
    index = RelatedFactsIndex()
    if request := related_facts_request(shop_id, at.order, at.judged_at):
        if at.viewpoint.is_now:
            index = await read_related_facts(connection, [request])
        else:
            index = await related_facts_at(connection, request, at.viewpoint)
    skus = history.skus_at(at.viewpoint)
    return at._replace(related_facts=index.facts_of(shop_id, at.order, None, skus))


def _check_version(parameter: str, version: int, history: Sequence[Recorded[OrderEvent]]) -> None:
    last = history[-1].version
    if version > last:
        raise NoSuchVersion(parameter, version, last)


def _version_or_time(text: str, parameter: str) -> int | datetime:
    if text.isascii() and text.isdecimal():
        return int(text)
    try:
        return parse_moment(text)
    except ValueError as error:
        raise WrongParameter(parameter, f"neither a version nor a time: {error}") from error
