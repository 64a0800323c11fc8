"""Rebuilds asked for over HTTP."""

from datetime import datetime
from typing import Annotated, Any

import msgspec

from domain.kernel import ShopId


class RebuildRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to rebuild; everything may be left out.

    ``views`` are built in the same pass as the one of the path. A build of the present can be activated.
    ``to_position`` of ``shop_id``, ``known_at`` (the log as it was known then) and ``rules`` (the TOML of a rule
    set to judge by) make one that is only read.
    """

    views: tuple[str, ...] = ()
    shop_id: ShopId | None = None
    to_position: Annotated[int, msgspec.Meta(ge=1)] | None = None
    known_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    rules: Annotated[str, msgspec.Meta(max_length=100_000)] | None = None

    def __post_init__(self) -> None:
        if (self.shop_id is None) != (self.to_position is None):
            raise ValueError("shop_id and to_position go together")

    def scope(self) -> dict[str, Any]:
        """As ``rebuild.request`` takes it."""
        found: dict[str, Any] = {}
        if self.shop_id is not None:
            found |= {"shop_id": self.shop_id, "to_position": self.to_position}
        if self.known_at is not None:
            found["known_at"] = self.known_at.isoformat()
        if self.rules is not None:
            found["rules"] = self.rules
        return found
