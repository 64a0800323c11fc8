"""An installation with two merchants, their people and clients, for tests of who may do what."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

from domain.access import commands as c
from domain.access import events as e
from domain.access.decisions import OPERATING_SYSTEM, Decision, Denial, Giver, decide, giver_of
from domain.access.scopes import Scope
from domain.access.state import Registry, Rights, evolve, fold
from domain.history import Recorded
from tests.domain.vocabulary import MONDAY_9

NOW = MONDAY_9
DIGEST = "0" * 64
MERCHANT, OTHER_MERCHANT = "merchant0001", "merchant0002"
OWN_SHOPS, OTHER_SHOP = ("100000001", "100000002"), "200000001"
OPERATOR, CLIENT, MANAGER, COLLEAGUE = "operator0001", "client000001", "manager00001", "colleague001"
STRANGER = "stranger0001"
"""A client of the other merchant."""


class Installation:
    """The log of an installation, folded event by event."""

    def __init__(self) -> None:
        self.log: list[tuple[str, Recorded[e.AccessEvent]]] = []
        self.registry = Registry()
        self._versions: Counter[str] = Counter()

    def giver(self, principal_id: str) -> Giver:
        return giver_of(self.registry, self.registry.principals[principal_id])

    def decide(self, command: c.Command, *, by: Giver = OPERATING_SYSTEM, now: datetime = NOW) -> Decision:
        return decide(self.registry, command, by, now)

    def done(self, command: c.Command, *, by: Giver = OPERATING_SYSTEM, now: datetime = NOW) -> list[e.AccessEvent]:
        """The events of a command that must not be refused."""
        decision = self.decide(command, by=by, now=now)
        assert not isinstance(decision, Denial), decision
        news = []
        for stream, version, event in decision:
            assert version == self._versions[stream], "a change says which version its stream must have"
            self._versions[stream] += 1
            recorded = Recorded(event, version + 1, len(self.log) + 1, now, now)
            news.append((stream, recorded))
            self.log.append((stream, recorded))
        before = self.registry
        self.registry = evolve(before, news)
        assert self.registry == fold(self.log)
        return [recorded.event for _, recorded in news]

    def rights(self, principal_id: str) -> Rights:
        return self.registry.rights_of(self.registry.principals[principal_id])

    def rights_with(self, key_id: str, at: datetime = NOW) -> Rights:
        principal = next(each for each in self.registry.principals.values() if key_id in each.keys)
        return self.registry.rights_with(principal, principal.keys[key_id], at)


def installation() -> Installation:
    """Two merchants with their shops; an operator; a manager and a colleague of the first, and a client of each."""
    known = Installation()
    for merchant_id, shops in ((MERCHANT, OWN_SHOPS), (OTHER_MERCHANT, (OTHER_SHOP,))):
        known.done(c.AddMerchant(merchant_id=merchant_id))
        for shop_id in shops:
            known.done(c.EnrolShop(shop_id=shop_id, merchant_id=merchant_id))
    known.done(c.AddPrincipal(principal_id=OPERATOR, kind="client"))
    known.done(c.Grant(principal_id=OPERATOR, role="operator"))
    known.done(c.AddPrincipal(principal_id=MANAGER, kind="person", merchant_id=MERCHANT))
    known.done(c.Grant(principal_id=MANAGER, role="manager"))
    known.done(c.AddPrincipal(principal_id=COLLEAGUE, kind="person", merchant_id=MERCHANT))
    known.done(c.AddPrincipal(principal_id=CLIENT, kind="client", merchant_id=MERCHANT))
    known.done(c.Grant(principal_id=CLIENT, role="integration"))
    known.done(c.AddPrincipal(principal_id=STRANGER, kind="client", merchant_id=OTHER_MERCHANT))
    known.done(c.Grant(principal_id=STRANGER, role="manager"))
    return known


def key_for(
    principal_id: str,
    key_id: str,
    *,
    ends_at: datetime = NOW + timedelta(days=365),
    shops: Sequence[str] | None = None,
    scopes: Sequence[Scope] | None = None,
    networks: Sequence[str] = (),
) -> c.IssueKey:
    return c.IssueKey(
        principal_id=principal_id,
        key_id=key_id,
        digest=DIGEST,
        ends_at=ends_at,
        shops=None if shops is None else tuple(shops),
        scopes=None if scopes is None else tuple(scopes),
        networks=tuple(networks),
    )
