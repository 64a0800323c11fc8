"""Laws of who may do what, over any commands that anybody gives."""

from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from domain.access import commands as c
from domain.access.decisions import OPERATING_SYSTEM, Denial
from domain.access.scopes import INSTALLATION_ROLES, SHOP_ROLES, SHOP_SCOPES
from domain.access.state import Registry, Rights, evolve, fold
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
)

PRINCIPALS = (OPERATOR, MANAGER, COLLEAGUE, CLIENT, STRANGER, "newperson001", "newclient001")
SHOPS = (*OWN_SHOPS, OTHER_SHOP, "300000001")
KEYS = ("key0000001", "key0000002", "key0000003")

principals = st.sampled_from(PRINCIPALS)
merchants = st.sampled_from([MERCHANT, OTHER_MERCHANT, None])
roles = st.sampled_from([*SHOP_ROLES, *INSTALLATION_ROLES])
shops = st.none() | st.lists(st.sampled_from(SHOPS), min_size=1, max_size=3).map(tuple)
scopes = st.none() | st.lists(st.sampled_from(sorted(SHOP_SCOPES)), min_size=1, max_size=4).map(tuple)
keys = st.sampled_from(KEYS)
days = st.integers(-1, 800).map(lambda count: NOW + timedelta(days=count))
commands = st.one_of(
    st.builds(c.EnrolShop, shop_id=st.sampled_from(SHOPS), merchant_id=st.sampled_from([MERCHANT, OTHER_MERCHANT])),
    st.builds(
        c.AddPrincipal, principal_id=principals, kind=st.sampled_from(["client", "person"]), merchant_id=merchants
    ),
    st.builds(c.RemovePerson, principal_id=principals),
    st.builds(c.Disable, principal_id=principals),
    st.builds(c.Enable, principal_id=principals),
    st.builds(c.Grant, principal_id=principals, role=roles, shops=shops),
    st.builds(c.Grant, principal_id=principals, role=roles, shops=shops),
    st.builds(c.Withdraw, principal_id=principals, role=roles, shops=shops),
    st.builds(
        c.IssueKey,
        principal_id=principals,
        key_id=keys,
        digest=st.just(DIGEST),
        ends_at=days,
        shops=shops,
        scopes=scopes,
        networks=st.just(()),
    ),
    st.builds(c.RotateKey, key_id=keys, new_key_id=keys, digest=st.just(DIGEST), ends_at=days, old_ends_at=days),
    st.builds(c.RevokeKey, key_id=keys),
)
givers = st.none() | st.sampled_from([OPERATOR, MANAGER, COLLEAGUE, CLIENT, STRANGER])
histories = st.lists(st.tuples(givers, commands), max_size=25)


def rights(registry: Registry) -> dict[str, Rights]:
    return {name: registry.rights_of(principal) for name, principal in registry.principals.items()}


def gained(before: Rights | None, after: Rights) -> Rights:
    """What somebody may do now and could not before."""
    had = before or Rights({})
    by_shop = {
        shop_id: more
        for shop_id, held in after.shops.items()
        if (more := held - had.shops.get(shop_id, frozenset()))
    }
    return Rights(by_shop, after.installation - had.installation)


def operators(registry: Registry) -> int:
    return sum(principal.is_operator and principal.is_active for principal in registry.principals.values())


def with_managers_of_parts() -> Installation:
    """Some manage only a part of their merchant's shops, or hold less there than others."""
    known = installation()
    known.done(c.Grant(principal_id=COLLEAGUE, role="manager", shops=OWN_SHOPS[:1]))
    known.done(c.Grant(principal_id=CLIENT, role="reporting", shops=OWN_SHOPS[1:]))
    return known


gifts = st.builds(c.Grant, principal_id=principals, role=roles, shops=shops)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(givers, st.one_of(gifts, gifts, commands)), max_size=25))
def test_nobody_gives_more_than_he_holds_and_nobody_gives_himself_anything(
    history: list[tuple[str | None, c.Command]],
) -> None:
    known = with_managers_of_parts()
    for name, command in history:
        giver = OPERATING_SYSTEM if name is None else known.giver(name)
        before = known.registry
        if not isinstance(known.decide(command, by=giver), Denial):
            known.done(command, by=giver)
        after = rights(known.registry)
        if giver.is_operator:
            continue
        assert name is not None
        held = before.rights_of(before.principals[name])
        for principal_id, now in after.items():
            more = gained(rights(before).get(principal_id), now)
            assert principal_id != name or more == Rights({}), "nobody gives himself anything"
            assert not more.installation
            if not isinstance(command, c.Enable):
                for shop_id, given_scopes in more.shops.items():
                    assert given_scopes <= held.shops.get(shop_id, frozenset())
            if more.shops:
                own = before.principals[name].merchant_id
                assert known.registry.principals[principal_id].merchant_id == own


@settings(max_examples=300, deadline=None)
@given(histories)
def test_there_is_always_an_operator(history: list[tuple[str | None, c.Command]]) -> None:
    known = installation()
    for name, command in history:
        giver = OPERATING_SYSTEM if name is None else known.giver(name)
        if not isinstance(known.decide(command, by=giver), Denial):
            known.done(command, by=giver)
        assert operators(known.registry) >= 1


@settings(max_examples=300, deadline=None)
@given(histories, st.integers(0, 900))
def test_a_key_never_does_more_than_its_client(
    history: list[tuple[str | None, c.Command]], after_days: int
) -> None:
    known = with_history(history)
    at = NOW + timedelta(days=after_days)
    for principal in known.registry.principals.values():
        own = known.registry.rights_of(principal)
        for key in principal.keys.values():
            with_key = known.registry.rights_with(principal, key, at)
            assert gained(own, with_key) == Rights({})
            if not key.is_valid(at) or not principal.is_active:
                assert with_key == Rights({})


@settings(max_examples=200, deadline=None)
@given(histories, st.integers(0, 60))
def test_a_log_folds_to_the_same_in_one_go_or_piece_by_piece(
    history: list[tuple[str | None, c.Command]], place: int
) -> None:
    log = with_history(history).log
    assert evolve(fold(log[:place]), log[place:]) == fold(log)


@settings(max_examples=200, deadline=None)
@given(histories, st.permutations(range(12)))
def test_any_event_may_follow_any_other(history: list[tuple[str | None, c.Command]], order: list[int]) -> None:
    """A log of another program's version may have what this one would refuse."""
    log = with_history(history).log
    fold([log[place % len(log)] for place in order])


def with_history(history: list[tuple[str | None, c.Command]]) -> Installation:
    known = installation()
    for name, command in history:
        giver = OPERATING_SYSTEM if name is None else known.giver(name)
        if not isinstance(known.decide(command, by=giver), Denial):
            known.done(command, by=giver)
    return known
