"""The JSON bodies of requests that are no commands."""

from typing import Annotated, Any

import msgspec

from domain.kernel import EARLIEST, AwareDatetime, Identifier, ShopId
from domain.rules.ruleset import RuleSet
from infrastructure.imports.stockout_applications import MOST_SKUS
from infrastructure.imports.stockout_lists import Reason
from infrastructure.queries.backtest import BacktestScope
from infrastructure.queries.moments import LATEST

MOST_ORDERS = 1_000
"""Orders of one request for stockout applications."""


class StockoutApplications(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Orders to apply for, at most 1,000; without ``sku_ids`` for all that each holds.

    With ``dry_run`` the answer says what would happen and nothing is appended.
    """

    order_sns: Annotated[list[str], msgspec.Meta(min_length=1, max_length=MOST_ORDERS)]
    reason: Reason
    sku_ids: Annotated[tuple[Identifier, ...], msgspec.Meta(max_length=MOST_SKUS)] = ()
    occurred_at: AwareDatetime | None = None
    dry_run: bool = False


class RebuildRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to rebuild; everything may be left out.

    ``views`` are built in the same pass as the one of the path. A build of the present can be activated.
    ``to_position`` of ``shop_id``, ``known_at`` (the log as it was known then) and ``rules`` (the TOML of a rule
    set to judge by) make one that is only read.
    """

    views: tuple[str, ...] = ()
    shop_id: ShopId | None = None
    to_position: Annotated[int, msgspec.Meta(ge=1)] | None = None
    known_at: AwareDatetime | None = None
    rules: Annotated[str, msgspec.Meta(max_length=100_000)] | None = None

    def __post_init__(self) -> None:
        if (self.shop_id is None) != (self.to_position is None):
            raise ValueError("shop_id and to_position go together")

    def scope(self) -> dict[str, Any]:
        """As ``rebuild.request`` takes it."""
        scope: dict[str, Any] = {}
        if self.shop_id is not None:
            scope |= {"shop_id": self.shop_id, "to_position": self.to_position}
        if self.known_at is not None:
            scope["known_at"] = self.known_at.isoformat()
        if self.rules is not None:
            scope["rules"] = self.rules
        return scope


class BacktestRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to compare with the rules in force: ``rules``, a rule set as TOML text or as JSON.

    It governs the orders whose group formed from ``from`` on and before ``to``, whatever its effective date.
    ``as_of`` judges them as they stood then; default: now.
    """

    rules: str | dict[str, Any]
    since: AwareDatetime | None = msgspec.field(default=None, name="from")
    until: AwareDatetime | None = msgspec.field(default=None, name="to")
    as_of: AwareDatetime | None = None

    def scope(self) -> BacktestScope:
        """Raises ``InvalidRuleSet`` and ``ValueError``, also for times outside 2015 to 2100."""
        for name, at in (("from", self.since), ("to", self.until), ("as_of", self.as_of)):
            if at is not None and not EARLIEST <= at <= LATEST:
                raise ValueError(f"`{name}` must be a time between 2015 and 2100")
        rules = RuleSet.parse(self.rules)
        return BacktestScope(rules=rules, since=self.since, until=self.until, as_of=self.as_of)
