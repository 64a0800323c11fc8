"""Backtests asked for over HTTP."""

from datetime import datetime
from typing import Annotated, Any

import msgspec

from domain.kernel import EARLIEST
from domain.rules.ruleset import RuleSet
from infrastructure.queries.backtest import Asked
from infrastructure.queries.moments import LATEST


class BacktestRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to compare with the rules in force: ``rules``, a rule set as TOML text or as JSON.

    It governs the orders whose group formed from ``from`` on and before ``to``, whatever its effective date.
    ``as_of`` judges them as they stood then; default: now.
    """

    rules: str | dict[str, Any]
    since: Annotated[datetime, msgspec.Meta(tz=True)] | None = msgspec.field(default=None, name="from")
    until: Annotated[datetime, msgspec.Meta(tz=True)] | None = msgspec.field(default=None, name="to")
    as_of: Annotated[datetime, msgspec.Meta(tz=True)] | None = None

    def asked(self) -> Asked:
        """Raises ``InvalidRuleSet`` and ``ValueError``, also for times outside 2015 to 2100."""
        for name, at in (("from", self.since), ("to", self.until), ("as_of", self.as_of)):
            if at is not None and not EARLIEST <= at <= LATEST:
                raise ValueError(f"`{name}` must be a time between 2015 and 2100")
        rules = RuleSet.parse(self.rules)
        return Asked(rules=rules, since=self.since, until=self.until, as_of=self.as_of)
