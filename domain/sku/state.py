"""What a SKU is, folded from its events: the last count, its capacity, and when it was for sale.

``fold`` and ``evolve`` are the only ways to a state. The event with the latest ``occurred_at`` holds, in whatever
order the log learned them.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import assert_never

import msgspec
from msgspec.structs import replace

from domain.history import Recorded
from domain.sku.events import CapacitySet, SkuDelisted, SkuEvent, SkuRelisted, StockCounted


class Count(msgspec.Struct, frozen=True):
    """So many pieces lay in the warehouse at a moment."""

    on_hand: int
    at: datetime


class Capacity(msgspec.Struct, frozen=True):
    """Pieces made and pieces shipped in 24 hours, from a moment on."""

    production_per_day: int
    shipping_per_day: int
    since: datetime


class Listing(msgspec.Struct, frozen=True):
    """A change of whether the SKU can be bought. ``reason`` is why it was delisted."""

    listed: bool
    at: datetime
    reason: str | None = None


class Delisting(msgspec.Struct, frozen=True):
    """A time in which the SKU could not be bought; ``relisted_at`` is ``None`` while it lasts."""

    delisted_at: datetime
    relisted_at: datetime | None


class Sku(msgspec.Struct, frozen=True):
    """A SKU. ``version`` 0 means that it has no event; orders may name it all the same.

    ``count`` is the latest, ``listings`` are in the order in which they occurred.
    """

    sku_id: str
    version: int = 0
    position: int = 0
    last_occurred_at: datetime | None = None
    count: Count | None = None
    capacity: Capacity | None = None
    listings: tuple[Listing, ...] = ()

    @property
    def listed(self) -> bool:
        """Whether it can be bought: a SKU is for sale until it is delisted."""
        return self.listings[-1].listed if self.listings else True

    @property
    def delisted_at(self) -> datetime | None:
        """Since when it can't be bought; ``None`` while it can."""
        return None if self.listed else self.delistings[-1].delisted_at

    @property
    def delistings(self) -> tuple[Delisting, ...]:
        """The times in which it could not be bought, the earliest first."""
        delistings: list[Delisting] = []
        for listing in self.listings:
            is_off_sale = bool(delistings) and delistings[-1].relisted_at is None
            if listing.listed and is_off_sale:
                delistings[-1] = replace(delistings[-1], relisted_at=listing.at)
            elif not listing.listed and not is_off_sale:
                delistings.append(Delisting(listing.at, None))
        return tuple(delistings)

    def was_listed(self, at: datetime) -> bool:
        """Whether it could be bought at a moment."""
        earlier = [listing for listing in self.listings if listing.at <= at]
        return earlier[-1].listed if earlier else True

    def off_sale_since(self, at: datetime) -> datetime | None:
        """Since when it is off sale at a moment; if it is for sale then, when it was first delisted after it."""
        return next(
            (
                delisting.delisted_at
                for delisting in self.delistings
                if delisting.relisted_at is None or delisting.relisted_at > at
            ),
            None,
        )


def fold(sku_id: str, history: Iterable[Recorded[SkuEvent]]) -> Sku:
    """The SKU that a history, in version order, leads to."""
    sku = Sku(sku_id)
    for recorded in history:
        sku = evolve(sku, recorded)
    return sku


def evolve(sku: Sku, recorded: Recorded[SkuEvent]) -> Sku:
    """The SKU after one more event. Total: any event may follow any other."""
    at = recorded.occurred_at
    sku = replace(
        sku,
        version=recorded.version,
        position=recorded.position,
        last_occurred_at=at if sku.last_occurred_at is None else max(at, sku.last_occurred_at),
    )
    event = recorded.event
    if type(event) is StockCounted:
        if sku.count is not None and at < sku.count.at:
            return sku
        return replace(sku, count=Count(event.on_hand, at))
    if type(event) is CapacitySet:
        if sku.capacity is not None and at < sku.capacity.since:
            return sku
        return replace(sku, capacity=Capacity(event.production_per_day, event.shipping_per_day, at))
    if type(event) is SkuDelisted:
        return replace(sku, listings=_changed(sku.listings, Listing(False, at, event.reason)))
    if type(event) is SkuRelisted:
        return replace(sku, listings=_changed(sku.listings, Listing(True, at)))
    assert_never(event)


def _changed(listings: tuple[Listing, ...], change: Listing) -> tuple[Listing, ...]:
    """The listings with one more. Of two at the same moment the one that the log learned later comes later."""
    return tuple(sorted((*listings, change), key=lambda listing: listing.at))
