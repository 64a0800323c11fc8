"""Which scopes a command to an order or a SKU needs.

Acting and reporting are two rights. Whoever ships may not also record that a review was approved, or the shipment
lock would mean nothing. Nor may he say that he acted earlier, because ``occurred_at`` decides lateness.
"""

from collections.abc import Mapping

from msgspec import UNSET

from domain.access.scopes import ShopScope
from domain.kernel import Command
from domain.order.commands import PlaceHold, Refund, ReleaseHold

Scopes = frozenset[ShopScope]

_ACT: Scopes = frozenset({"orders:act"})
_RECORD: Scopes = frozenset({"orders:record"})
_ACT_EARLIER: Scopes = _ACT | _RECORD
_MONEY: Scopes = frozenset({"money:write"})
_STOCK: Scopes = frozenset({"stock:write"})

ONE_OF: Mapping[str, Scopes] = {
    "upload-tracking": _ACT,
    "replace-tracking": _ACT,
    "request-stockout": _ACT,
    "cancel": _ACT,
    "contact-buyer": _ACT,
    "appeal": _ACT,
    "hand-to-supplier": _ACT,
    "record-supplier-tracking": _ACT,
    "record-supplier-stockout": _ACT,
    "take-back-from-supplier": _ACT,
    "refund": _ACT | _RECORD,
    "place-hold": _ACT | _RECORD,
    "release-hold": _ACT | _RECORD,
    "place": _RECORD,
    "pay": _RECORD,
    "form-group": _RECORD,
    "fail-group": _RECORD,
    "change-ship-by": _RECORD,
    "record-pickup": _RECORD,
    "record-delivery": _RECORD,
    "confirm-receipt": _RECORD,
    "complete-review": _RECORD,
    "file-complaint": _RECORD,
    "decide-complaint": _RECORD,
    "decide-appeal": _RECORD,
    "withdraw-fact": _RECORD,
    "record-charge": _MONEY,
    "record-return": _MONEY,
    "count-stock": _STOCK,
    "set-capacity": _STOCK,
    "delist": _STOCK,
    "relist": _STOCK,
}
"""For each action the scopes of which one is needed at least. Where there are two, the command decides."""


def needed(action: str, command: Command) -> Scopes:
    """All scopes that a command needs.

    What the merchant does is acting; what the platform, a buyer or a carrier did is recorded. To act at an earlier
    moment (``occurred_at``) needs both scopes.
    """
    scopes = ONE_OF[action]
    if len(scopes) > 1:
        scopes = _ACT if _is_of_the_merchant(command) else _RECORD
    if scopes is _ACT and command.occurred_at is not UNSET:
        return _ACT_EARLIER
    return scopes


def _is_of_the_merchant(command: Command) -> bool:
    match command:
        case Refund():
            return command.initiated_by == "merchant"
        case PlaceHold() | ReleaseHold():
            return command.hold == "manual"
        case _:
            return False
