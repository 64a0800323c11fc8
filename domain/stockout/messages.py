"""Ready-made messages to buyers in a stockout, in Chinese, with placeholders. Source: comfort-buyers."""

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from domain.calendar import BEIJING
from domain.order.state import Order
from domain.stockout.case import Standing

Situation = Literal[
    "applied", "at_risk", "will_ship_late", "your_choice", "rejected_will_ship", "approved", "shipped"
]

_PLACEHOLDER = re.compile(r"\{(goods|order_sn|ship_by)\}")


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A message for a situation. What is not known of an order stays a placeholder, such as ``{ship_by}``.

    ``standings`` says for which orders of a case it is, ``caution`` what to check before it is sent.
    """

    situation: Situation
    title: str
    standings: tuple[Standing, ...]
    text: Annotated[str, Meta(min_length=1, max_length=500)]
    caution: str | None = None


class FilledMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message to the buyer of one order."""

    order_sn: str
    situation: Situation
    title: str
    text: str
    caution: str | None = None


class _Book(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    messages: tuple[Message, ...]


def parse(document: str) -> tuple[Message, ...]:
    """The messages of a TOML document. Raises ``msgspec.ValidationError``."""
    return msgspec.toml.decode(document, type=_Book).messages


def fitting(
    messages: Iterable[Message], standing: Standing, order: Order, sku_id: str, ship_by: datetime | None
) -> list[FilledMessage]:
    """The messages for the buyer of an order with this standing in a case of the SKU.

    A review of other SKUs locks the whole order, so no message may promise to ship it: its buyer is told
    what was applied for, as in the case of those. Source: stockout-lock.
    """
    review = order.open_review
    if review is not None and standing in ("at_risk", "rejected"):
        under_review = order.applied_for(review)
        standing, sku_id = "applied", sku_id if sku_id in under_review else under_review[0]
    return [fill(message, order, sku_id, ship_by) for message in messages if standing in message.standings]


def fill(message: Message, order: Order, sku_id: str, ship_by: datetime | None) -> FilledMessage:
    """The message with what is known of the order; the goods are those of the SKU."""
    known = {"order_sn": order.order_sn}
    if goods := [line.name for line in order.lines if line.sku_id == sku_id]:
        known["goods"] = goods[0]
    if ship_by is not None:
        known["ship_by"] = ship_by.astimezone(BEIJING).strftime("%Y-%m-%d %H:%M")
    text = _PLACEHOLDER.sub(lambda match: known.get(match[1], match[0]), message.text)
    return FilledMessage(order.order_sn, message.situation, message.title, text, message.caution)
