"""What a SKU is, folded from what happened to it: the last count, its capacity, and when it was for sale.

``fold`` and ``evolve`` are the only ways to a state. What happened last in the world holds, whichever was
told first.
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
    """A SKU. ``version`` 0 means that nothing was told of it; orders may name it all the same.

    ``count`` is the last one, ``listings`` are in the world's order.
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
        """When it could not be bought, in the world's order."""
        found: list[Delisting] = []
        for listing in self.listings:
            off = bool(found) and found[-1].relisted_at is None
            if listing.listed and off:
                found[-1] = replace(found[-1], relisted_at=listing.at)
            elif not listing.listed and not off:
                found.append(Delisting(listing.at, None))
        return tuple(found)

    def was_listed(self, at: datetime) -> bool:
        """Whether it could be bought at a moment."""
        earlier = [listing for listing in self.listings if listing.at <= at]
        return earlier[-1].listed if earlier else True

    def off_sale_since(self, at: datetime) -> datetime | None:
        """When it was delisted that was not for sale at a moment, or was delisted after it; the first such time."""
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
    """With one more; of those at the same moment the one told last comes last."""
    return tuple(sorted((*listings, change), key=lambda listing: listing.at))
