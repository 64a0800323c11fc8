"""What orders and SKUs share: the types of their fields, commands, refusals, and when a command may have occurred.

``domain/order`` and ``domain/sku`` build on this file; it imports neither.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, UnsetType

from domain.calendar import BEIJING, iso_seconds

# ---- ids --------------------------------------------------------------------------------------------

ID = r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}"
"""A shop's id or an order's number: 1 to 64 letters, digits, ``_`` and ``-``; it begins with a letter or digit."""

ID_IN_WORDS = "letters, digits, - and _, at most 64"
"""``ID`` for people."""

ID_PATTERN = rf"^{ID}$"
"""``ID`` as JSON Schema and OpenAPI write it."""

ShopId = Annotated[str, Meta(pattern=ID_PATTERN + r"(?!\n)")]
OrderSn = Annotated[str, Meta(pattern=ID_PATTERN + r"(?!\n)")]

_ID = re.compile(ID)


def is_id(text: str) -> bool:
    """Whether a text can be a shop's id or an order's number."""
    return _ID.fullmatch(text) is not None


# ---- fields of commands -----------------------------------------------------------------------------

PRINTABLE_CHARACTER = r"[^\x00-\x1f\x7f]"
"""Any character but a control character."""

PRINTABLE = rf"^{PRINTABLE_CHARACTER}+$(?!\n)"
"""No control characters; ``$`` alone would let a final newline through."""

Identifier = Annotated[str, Meta(min_length=1, max_length=64, pattern=PRINTABLE)]
"""An id that others give: of a SKU, goods, a group, a supplier, or a tracking number."""

IDENTIFIER = rf"{PRINTABLE_CHARACTER}{{1,64}}"
"""``Identifier`` as a regular expression without anchors."""

_IDENTIFIER = re.compile(IDENTIFIER)


def is_identifier(text: str) -> bool:
    """Whether a text can be an id that others give."""
    return _IDENTIFIER.fullmatch(text) is not None


Word = Annotated[str, Meta(min_length=1, max_length=100, pattern=PRINTABLE)]
Text = Annotated[str, Meta(min_length=1, max_length=2000, pattern=r"^[^\x00]+$")]
Fen = Annotated[int, Meta(ge=0, le=10**12)]
PositiveFen = Annotated[int, Meta(ge=1, le=10**12)]
Pieces = Annotated[int, Meta(ge=1, le=1_000_000)]
AwareDatetime = Annotated[datetime, Meta(tz=True)]

GoodsType = Literal["ordinary", "presale", "direct_mail", "bonded", "virtual"]
"""Decides which ship-by and pickup hours of the rule set apply. Source: ship-by-ordinary, ship-by-overseas."""

ViolationKind = Literal["late_shipment", "stockout", "false_shipment", "fraudulent_shipment"]
"""The rules whose breaking is charged, as the platform's bills name them. Source: bill-words."""

VIOLATION_KINDS: tuple[ViolationKind, ...] = get_args(ViolationKind)

# ---- commands and refusals --------------------------------------------------------------------------


class Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Every command may say when it happened (default: now) and carry a note."""

    occurred_at: AwareDatetime | UnsetType = UNSET
    note: Text | UnsetType = UNSET


RefusalCode = Literal[
    "already_appealed",
    "already_delivered",
    "already_paid",
    "already_replaced",
    "already_shipped",
    "appeal_too_late",
    "complaint_already_open",
    "conditions_not_met",
    "group_already_formed",
    "history_full",
    "idempotency_key_reused",
    "invalid_request",
    "line_already_told",
    "no_open_appeal",
    "no_open_complaint",
    "no_open_review",
    "no_such_hold",
    "no_supplier",
    "not_paid",
    "not_shippable",
    "not_shipped",
    "nothing_to_withdraw",
    "order_closed",
    "order_exists",
    "order_locked",
    "review_already_open",
    "ship_by_passed",
    "stale_version",
    "unknown_order",
    "unknown_parcel",
    "unknown_violation",
    "which_parcel",
    "with_supplier",
]
"""Every code that a refused command can carry. ``api/http/problems.py`` has the status and advice of each."""


class Refusal(msgspec.Struct, frozen=True):
    """Why a command is refused.

    ``code`` is for programs, ``detail`` for people; ``pointer`` names a field whose value is not possible.
    """

    code: RefusalCode
    detail: str
    pointer: str | None = None


# ---- when a command occurred ------------------------------------------------------------------------

EARLIEST = datetime(2015, 1, 1, tzinfo=BEIJING)
"""The platform was founded in 2015; no fulfilment fact is older."""

CLOCK_SKEW = timedelta(minutes=10)
"""How far ahead of ours a reporter's clock may be."""

FURTHEST_DEADLINE = timedelta(days=731)
"""How far ahead a deadline may lie that a command sets: two years."""


def occurrence(command: Command, last_occurred_at: datetime | None, now: datetime) -> datetime | Refusal:
    """When the command occurred, in UTC: at its ``occurred_at``, by default now.

    The default is never before the latest event of the order or SKU, so that it does not change the past.
    Refuses an ``occurred_at`` before 2015 or more than ten minutes ahead of ``now``.
    """
    if not isinstance(command.occurred_at, datetime):
        return min(max(now, last_occurred_at or now), now + CLOCK_SKEW)
    if not EARLIEST <= command.occurred_at <= now + CLOCK_SKEW:
        detail = f"It must lie between {iso_seconds(EARLIEST)} and ten minutes from now ({iso_seconds(now)})."
        return Refusal("invalid_request", detail, "/occurred_at")
    return command.occurred_at.astimezone(UTC)


def too_early(what: str, since: datetime) -> Refusal:
    """The command occurred before the fact that it depends on."""
    return Refusal("invalid_request", f"That was before {what} ({iso_seconds(since)}).", "/occurred_at")
