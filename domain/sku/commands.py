"""The commands to a SKU. Like those to orders, these structs are the contract's request bodies."""

from typing import Annotated

from msgspec import Meta

from domain.kernel import Command, Word

Stock = Annotated[int, Meta(ge=0, le=1_000_000_000)]


class CountStock(Command, frozen=True):
    """So many pieces lie in the warehouse, those of orders that are not shipped yet among them."""

    on_hand: Stock


class SetCapacity(Command, frozen=True):
    """How many pieces can be made, and how many shipped, in 24 hours."""

    production_per_day: Stock
    shipping_per_day: Stock


class Delist(Command, frozen=True):
    """Take it off the shelf: nobody can buy it any more."""

    reason: Word


class Relist(Command, frozen=True):
    """Put it back on the shelf."""
