"""Who may give whom what: operators, a merchant's managers, and strangers."""

from datetime import timedelta

import pytest

from domain.access import commands as c
from domain.access import events as e
from domain.access.decisions import OPERATING_SYSTEM, Denial, Giver
from domain.access.scopes import INSTALLATION_SCOPES, SHOP_ROLES, SHOP_SCOPES
from tests.domain.access.installation import (
    CLIENT,
    COLLEAGUE,
    DIGEST,
    MANAGER,
    MERCHANT,
    NOW,
    OPERATOR,
    OTHER_MERCHANT,
    OTHER_SHOP,
    OWN_SHOPS,
    STRANGER,
    Installation,
    installation,
    key_for,
)


def test_an_operator_may_do_everything_with_every_shop_also_with_later_ones() -> None:
    known = installation()
    assert known.rights(OPERATOR).shops == dict.fromkeys((*OWN_SHOPS, OTHER_SHOP), SHOP_SCOPES)
    assert known.rights(OPERATOR).installation == INSTALLATION_SCOPES
    known.done(c.EnrolShop(shop_id="300000001", merchant_id=MERCHANT))
    assert known.rights(OPERATOR).shops["300000001"] == SHOP_SCOPES


def test_a_manager_gives_colleagues_what_he_holds_on_his_shops() -> None:
    known = installation()
    manager = known.giver(MANAGER)
    known.done(c.Grant(principal_id=COLLEAGUE, role="operations", shops=OWN_SHOPS[:1]), by=manager)
    assert known.rights(COLLEAGUE).shops == {OWN_SHOPS[0]: SHOP_ROLES["operations"]}
    known.done(c.Grant(principal_id=COLLEAGUE, role="viewer"), by=manager)
    assert known.rights(COLLEAGUE).shops == {
        OWN_SHOPS[0]: SHOP_ROLES["operations"],
        OWN_SHOPS[1]: SHOP_ROLES["viewer"],
    }
    known.done(c.Withdraw(principal_id=COLLEAGUE, role="operations"), by=manager)
    assert known.rights(COLLEAGUE).shops == dict.fromkeys(OWN_SHOPS, SHOP_ROLES["viewer"])


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (c.Grant(principal_id=MANAGER, role="viewer"), "not_permitted"),
        (c.Grant(principal_id=COLLEAGUE, role="operator"), "not_permitted"),
        (c.Grant(principal_id=COLLEAGUE, role="builder"), "not_permitted"),
        (c.Grant(principal_id=COLLEAGUE, role="viewer", shops=(OTHER_SHOP,)), "unknown_shop"),
        (c.Grant(principal_id=COLLEAGUE, role="viewer", shops=("404",)), "unknown_shop"),
        (c.Grant(principal_id=STRANGER, role="viewer"), "unknown_principal"),
        (c.Grant(principal_id=OPERATOR, role="viewer"), "unknown_principal"),
        (c.Grant(principal_id="nobody000000", role="viewer"), "unknown_principal"),
        (c.Disable(principal_id=STRANGER), "unknown_principal"),
        (c.Disable(principal_id=MANAGER), "not_permitted"),
        (c.AddMerchant(merchant_id="merchant0003"), "not_permitted"),
        (c.EnrolShop(shop_id="300000001", merchant_id=MERCHANT), "not_permitted"),
        (c.AddPrincipal(principal_id="person000009", kind="person", merchant_id=OTHER_MERCHANT), "not_permitted"),
        (c.AddPrincipal(principal_id="person000009", kind="person"), "not_permitted"),
        (c.SetLimits(principal_id=COLLEAGUE, per_second=1, at_once=1), "not_permitted"),
        (c.SetLimitsOfShop(shop_id=OWN_SHOPS[0], per_second=1, at_once=1), "not_permitted"),
        (c.RevokeKey(key_id="strangerK1"), "unknown_key"),
        (c.RevokeKey(key_id="nokey00000"), "unknown_key"),
    ],
)
def test_a_manager_may_not(command: c.Command, code: str) -> None:
    """What is another merchant's is for him as if it were not there."""
    known = installation()
    known.done(key_for(STRANGER, "strangerK1"))
    denied = known.decide(command, by=known.giver(MANAGER))
    assert isinstance(denied, Denial)
    assert denied.code == code


def test_a_stranger_and_nobody_are_denied_in_the_same_words() -> None:
    known = installation()
    known.done(key_for(STRANGER, "strangerK1"))
    manager = known.giver(MANAGER)
    for there, not_there in (
        (c.Disable(principal_id=STRANGER), c.Disable(principal_id="nobody000000")),
        (c.RevokeKey(key_id="strangerK1"), c.RevokeKey(key_id="nokey00000")),
        (
            c.Grant(principal_id=COLLEAGUE, role="viewer", shops=(OTHER_SHOP,)),
            c.Grant(principal_id=COLLEAGUE, role="viewer", shops=("404",)),
        ),
    ):
        one, other = (known.decide(command, by=manager) for command in (there, not_there))
        assert isinstance(one, Denial)
        assert isinstance(other, Denial)
        words = [
            denial.detail.replace(name, "x")
            for denial, name in (
                (one, next(n for n in (STRANGER, "strangerK1", OTHER_SHOP) if n in one.detail)),
                (other, next(n for n in ("nobody000000", "nokey00000", "404") if n in other.detail)),
            )
        ]
        assert words[0] == words[1]


def test_a_manager_of_some_shops_manages_nobody_who_is_on_others() -> None:
    known = installation()
    known.done(c.Withdraw(principal_id=MANAGER, role="manager"))
    known.done(c.Grant(principal_id=MANAGER, role="manager", shops=OWN_SHOPS[:1]))
    known.done(c.Grant(principal_id=COLLEAGUE, role="viewer"))
    manager = known.giver(MANAGER)
    for command in (
        c.Disable(principal_id=COLLEAGUE),
        c.Withdraw(principal_id=COLLEAGUE, role="viewer"),
        c.Grant(principal_id=COLLEAGUE, role="operations", shops=OWN_SHOPS[:1]),
    ):
        denied = known.decide(command, by=manager)
        assert isinstance(denied, Denial)
        assert denied.code == "not_permitted"
    known.done(c.Withdraw(principal_id=COLLEAGUE, role="viewer"))
    known.done(c.Grant(principal_id=COLLEAGUE, role="viewer", shops=OWN_SHOPS[:1]))
    known.done(c.Grant(principal_id=COLLEAGUE, role="operations", shops=OWN_SHOPS[:1]), by=manager)
    denied = known.decide(c.Grant(principal_id=COLLEAGUE, role="viewer", shops=OWN_SHOPS[1:]), by=manager)
    assert isinstance(denied, Denial)


def test_who_came_with_a_narrow_key_gives_no_more_than_that() -> None:
    known = installation()
    known.done(c.AddPrincipal(principal_id="client000009", kind="client", merchant_id=MERCHANT))
    known.done(c.Grant(principal_id="client000009", role="manager"))
    known.done(key_for("client000009", "narrowkey0", scopes=("access:manage", "orders:read")))
    narrow = Giver(known.registry.principals["client000009"], known.rights_with("narrowkey0"))
    denied = known.decide(c.Grant(principal_id=COLLEAGUE, role="viewer"), by=narrow)
    assert isinstance(denied, Denial)
    assert denied.code == "not_permitted"
    known.done(c.Grant(principal_id=COLLEAGUE, role="viewer"), by=known.giver("client000009"))


def test_the_last_operator_stays() -> None:
    known = installation()
    for command in (c.Disable(principal_id=OPERATOR), c.Withdraw(principal_id=OPERATOR, role="operator")):
        denied = known.decide(command)
        assert isinstance(denied, Denial)
        assert "last operator" in denied.detail
    known.done(c.AddPrincipal(principal_id="client000009", kind="client"))
    known.done(c.Grant(principal_id="client000009", role="operator"))
    known.done(c.Disable(principal_id=OPERATOR))
    assert known.rights(OPERATOR).shops == {}
    denied = known.decide(c.Withdraw(principal_id="client000009", role="operator"))
    assert isinstance(denied, Denial)
    known.done(c.Enable(principal_id=OPERATOR))
    known.done(c.Withdraw(principal_id="client000009", role="operator"))


def test_what_is_so_already_leads_to_no_event() -> None:
    known = installation()
    known.done(c.Grant(principal_id=COLLEAGUE, role="viewer"))
    for command in (
        c.AddMerchant(merchant_id=MERCHANT),
        c.EnrolShop(shop_id=OWN_SHOPS[0], merchant_id=MERCHANT),
        c.AddPrincipal(principal_id=COLLEAGUE, kind="person", merchant_id=MERCHANT),
        c.Grant(principal_id=COLLEAGUE, role="viewer"),
        c.Grant(principal_id=COLLEAGUE, role="viewer", shops=OWN_SHOPS[:1]),
        c.Withdraw(principal_id=COLLEAGUE, role="operations"),
        c.Enable(principal_id=COLLEAGUE),
    ):
        assert known.decide(command) == (), command


def test_a_role_on_every_shop_is_withdrawn_as_a_whole() -> None:
    known = installation()
    known.done(c.Grant(principal_id=COLLEAGUE, role="viewer"))
    denied = known.decide(c.Withdraw(principal_id=COLLEAGUE, role="viewer", shops=OWN_SHOPS[:1]))
    assert isinstance(denied, Denial)
    assert "as a whole" in denied.detail


def test_a_shop_that_changes_its_merchant_is_seen_by_its_people_alone() -> None:
    known = installation()
    known.done(c.EnrolShop(shop_id=OWN_SHOPS[0], merchant_id=OTHER_MERCHANT))
    assert known.rights(MANAGER).shops.keys() == {OWN_SHOPS[1]}
    assert known.rights(STRANGER).shops.keys() == {OWN_SHOPS[0], OTHER_SHOP}


def test_a_person_who_is_removed_has_nothing_and_comes_back_as_another() -> None:
    known = installation()
    known.done(c.Grant(principal_id=COLLEAGUE, role="viewer"))
    known.done(c.RemovePerson(principal_id=COLLEAGUE))
    assert known.rights(COLLEAGUE).shops == {}
    for command in (
        c.Grant(principal_id=COLLEAGUE, role="viewer"),
        c.AddPrincipal(principal_id=COLLEAGUE, kind="person", merchant_id=MERCHANT),
    ):
        assert isinstance(known.decide(command), Denial)
    assert isinstance(known.decide(c.RemovePerson(principal_id=CLIENT)), Denial)


def test_who_is_disabled_gives_nothing() -> None:
    known = installation()
    known.done(c.Disable(principal_id=MANAGER))
    assert isinstance(known.decide(c.Grant(principal_id=COLLEAGUE, role="viewer"), by=known.giver(MANAGER)), Denial)


# ---- keys -------------------------------------------------------------------------------------------


def test_a_key_can_do_what_its_client_can_or_less() -> None:
    known = installation()
    known.done(key_for(CLIENT, "fullkey000"))
    known.done(key_for(CLIENT, "narrowkey0", shops=OWN_SHOPS[:1], scopes=("orders:read", "audit:read")))
    assert known.rights_with("fullkey000").shops == dict.fromkeys(OWN_SHOPS, SHOP_ROLES["integration"])
    assert known.rights_with("narrowkey0").shops == {OWN_SHOPS[0]: {"orders:read"}}
    known.done(c.Withdraw(principal_id=CLIENT, role="integration"))
    assert known.rights_with("fullkey000").shops == {}


def test_a_key_of_some_shops_has_nothing_of_the_installation() -> None:
    known = installation()
    known.done(key_for(OPERATOR, "fullkey000"))
    known.done(key_for(OPERATOR, "narrowkey0", shops=OWN_SHOPS[:1]))
    known.done(key_for(OPERATOR, "metrics000", scopes=("service:read",)))
    assert known.rights_with("fullkey000").installation == INSTALLATION_SCOPES
    assert known.rights_with("narrowkey0").installation == frozenset()
    assert known.rights_with("narrowkey0").shops.keys() == {OWN_SHOPS[0]}
    assert known.rights_with("metrics000").installation == {"service:read"}
    assert known.rights_with("metrics000").shops == {}


def test_a_key_ends() -> None:
    known = installation()
    known.done(key_for(CLIENT, "shortkey00", ends_at=NOW + timedelta(days=1)))
    assert known.rights_with("shortkey00", NOW + timedelta(days=1) - timedelta(microseconds=1)).shops
    assert not known.rights_with("shortkey00", NOW + timedelta(days=1)).shops


def test_while_a_key_is_rotated_both_work_and_the_new_one_is_as_narrow() -> None:
    known = installation()
    known.done(
        key_for(CLIENT, "oldkey0000", shops=OWN_SHOPS[:1], scopes=("orders:read",), networks=("10.0.0.0/8",))
    )
    rotate = c.RotateKey(
        key_id="oldkey0000",
        new_key_id="newkey0000",
        digest=DIGEST,
        ends_at=NOW + timedelta(days=365),
        old_ends_at=NOW + timedelta(hours=24),
    )
    issued, ended = known.done(rotate, by=known.giver(CLIENT))
    assert isinstance(issued, e.KeyIssued)
    assert issued.networks == ("10.0.0.0/8",)
    assert ended == e.KeyEndSet("oldkey0000", NOW + timedelta(hours=24))
    for key_id in ("oldkey0000", "newkey0000"):
        assert known.rights_with(key_id).shops == {OWN_SHOPS[0]: {"orders:read"}}
    later = NOW + timedelta(hours=24)
    assert not known.rights_with("oldkey0000", later).shops
    assert known.rights_with("newkey0000", later).shops
    denied = known.decide(rotate, now=later)
    assert isinstance(denied, Denial)


def test_a_rotation_never_lengthens_the_life_of_the_old_key() -> None:
    known = installation()
    known.done(key_for(CLIENT, "oldkey0000", ends_at=NOW + timedelta(hours=1)))
    rotate = c.RotateKey(
        key_id="oldkey0000",
        new_key_id="newkey0000",
        digest=DIGEST,
        ends_at=NOW + timedelta(days=365),
        old_ends_at=NOW + timedelta(hours=24),
    )
    _, ended = known.done(rotate)
    assert ended == e.KeyEndSet("oldkey0000", NOW + timedelta(hours=1))


def test_a_client_revokes_its_own_key_and_no_other() -> None:
    known = installation()
    known.done(key_for(CLIENT, "ownkey0000"))
    known.done(key_for(STRANGER, "strangerK1"))
    known.done(c.RevokeKey(key_id="ownkey0000"), by=known.giver(CLIENT))
    assert not known.rights_with("ownkey0000").shops
    assert known.decide(c.RevokeKey(key_id="ownkey0000")) == ()
    assert isinstance(known.decide(c.RevokeKey(key_id="strangerK1"), by=known.giver(CLIENT)), Denial)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (key_for(COLLEAGUE, "key0000001"), "people sign in"),
        (key_for(CLIENT, "usedkey000"), "another key's"),
        (key_for(CLIENT, "key0000001", ends_at=NOW), "in the future"),
        (key_for(CLIENT, "key0000001", ends_at=NOW + timedelta(days=732)), "731 days"),
        (key_for(CLIENT, "key0000001", networks=("everywhere",)), "not a network"),
        (key_for(CLIENT, "key0000001", shops=(OTHER_SHOP,)), "another merchant's"),
        (key_for("nobody000000", "key0000001"), "no client or person"),
    ],
)
def test_a_key_that_makes_no_sense_is_refused(command: c.Command, words: str) -> None:
    known = installation()
    known.done(key_for(CLIENT, "usedkey000"))
    denied = known.decide(command)
    assert isinstance(denied, Denial)
    assert words in denied.detail


def test_a_client_has_so_many_keys_at_a_time() -> None:
    known = installation()
    for number in range(100):
        known.done(key_for(CLIENT, f"key{number:07d}"))
    assert isinstance(known.decide(key_for(CLIENT, "onemorekey")), Denial)
    known.done(c.RevokeKey(key_id="key0000007"))
    known.done(key_for(CLIENT, "onemorekey"))


def test_limits_are_set_by_operators() -> None:
    known = installation()
    operator = known.giver(OPERATOR)
    known.done(c.SetLimits(principal_id=CLIENT, per_second=10, at_once=20), by=operator)
    known.done(c.SetLimitsOfShop(shop_id=OWN_SHOPS[0], per_second=5, at_once=6), by=operator)
    assert known.registry.principals[CLIENT].limits == (10, 20)
    assert known.registry.shops[OWN_SHOPS[0]].limits == (5, 6)
    assert known.decide(c.SetLimits(principal_id=CLIENT, per_second=10, at_once=20)) == ()
    assert isinstance(known.decide(c.SetLimitsOfShop(shop_id="404", per_second=5, at_once=6)), Denial)


def test_whoever_holds_the_database_begins() -> None:
    known = Installation()
    known.done(c.AddPrincipal(principal_id=OPERATOR, kind="client"), by=OPERATING_SYSTEM)
    known.done(c.Grant(principal_id=OPERATOR, role="operator"), by=OPERATING_SYSTEM)
    assert known.rights(OPERATOR).installation == INSTALLATION_SCOPES
