"""What clients send to apply for stockout of many orders at once."""

from typing import Annotated

import msgspec

from domain.kernel import AwareDatetime, Identifier
from infrastructure.imports.stockout_applications import MOST_SKUS
from infrastructure.imports.stockout_lists import Reason

MOST_ORDERS = 1_000


class StockoutApplications(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Orders to apply for, at most 1,000; without ``sku_ids`` for all that each holds.

    With ``dry_run`` the answer says what would happen and nothing is appended.
    """

    order_sns: Annotated[list[str], msgspec.Meta(min_length=1, max_length=MOST_ORDERS)]
    reason: Reason
    sku_ids: Annotated[tuple[Identifier, ...], msgspec.Meta(max_length=MOST_SKUS)] = ()
    occurred_at: AwareDatetime | None = None
    dry_run: bool = False
