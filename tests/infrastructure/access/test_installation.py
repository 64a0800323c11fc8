"""The log of the installation: kept by the event library, folded alike by every process, decided one by one."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from psycopg_pool import ConnectionPool

from domain.access import commands as c
from domain.access import events as e
from domain.access.scopes import SHOP_ROLES
from domain.access.state import Registry, evolve
from infrastructure.access.installation import Done, Installation
from infrastructure.log.log import INSTALLATION, read_stream
from infrastructure.log.recorders import EventOfStream, RecorderPool
from infrastructure.projections.worker import Worker
from infrastructure.runtime import clock
from tests.domain.access.installation import CLIENT, MANAGER, MERCHANT, OPERATOR, OWN_SHOPS, key_for
from tests.infrastructure.audit.signed import REHASH, SignedLog
from tests.infrastructure.projections.built import BOOK
from tests.orders import on_database


@pytest.fixture
def pool(database_url: str) -> Iterator[RecorderPool]:
    with ConnectionPool(database_url, min_size=2, max_size=16) as opened:
        yield opened


def begun(pool: RecorderPool) -> Installation:
    """A merchant with shops, an operator, a manager and a client."""
    known = Installation(pool)
    for command in (
        c.AddMerchant(merchant_id=MERCHANT),
        *(c.EnrolShop(shop_id=shop_id, merchant_id=MERCHANT) for shop_id in OWN_SHOPS),
        c.AddPrincipal(principal_id=OPERATOR, kind="client"),
        c.Grant(principal_id=OPERATOR, role="operator"),
        c.AddPrincipal(principal_id=MANAGER, kind="person", merchant_id=MERCHANT),
        c.Grant(principal_id=MANAGER, role="manager"),
        c.AddPrincipal(principal_id=CLIENT, kind="client", merchant_id=MERCHANT),
    ):
        assert done(known.do(command))
    return known


def done(outcome: Done) -> Done:
    assert outcome.denial is None, outcome.denial
    return outcome


def test_another_process_reads_what_one_has_written(pool: RecorderPool) -> None:
    known, other = begun(pool), Installation(pool)
    assert other.registry() == known.registry()
    done(known.do(c.Grant(principal_id=CLIENT, role="integration"), by=MANAGER))
    registry = other.registry()
    assert registry == known.registry()
    assert registry.rights_of(registry.principals[CLIENT]).shops == dict.fromkeys(
        OWN_SHOPS, SHOP_ROLES["integration"]
    )
    assert Installation(pool).registry() == registry


def test_a_command_is_decided_by_what_other_processes_have_written(pool: RecorderPool) -> None:
    known, other = begun(pool), Installation(pool)
    done(other.do(c.Disable(principal_id=MANAGER)))
    refused = known.do(c.Grant(principal_id=CLIENT, role="viewer"), by=MANAGER)
    assert refused.denial is not None
    assert refused.facts == ()
    assert known.do(c.Grant(principal_id=CLIENT, role="viewer"), by="nobody000000").denial is not None


def test_each_fact_says_who_gave_the_command(database_url: str, pool: RecorderPool) -> None:
    known = begun(pool)
    done(known.do(c.Grant(principal_id=CLIENT, role="viewer"), by=MANAGER))
    ends_at = clock.now() + timedelta(days=1)
    done(known.do(key_for(CLIENT, "key0000001", ends_at=ends_at), by=OPERATOR))

    async def actors(pool: object, _: object) -> list[str]:
        async with pool.read() as connection:  # type: ignore[attr-defined]
            stored = await read_stream(connection, INSTALLATION, f"client:{CLIENT}")
        return [each.metadata.decode() for each in stored]

    assert on_database(database_url, actors) == [
        '{"actor":"cli"}',
        f'{{"actor":"person:{MANAGER}"}}',
        f'{{"actor":"client:{OPERATOR}"}}',
    ]


def test_of_two_last_operators_who_end_each_other_one_stays(pool: RecorderPool) -> None:
    """A decision depends on the whole log, so no two are made at the same time."""
    known = begun(pool)
    second = "operator0002"
    done(known.do(c.AddPrincipal(principal_id=second, kind="client")))
    done(known.do(c.Grant(principal_id=second, role="operator")))
    for _ in range(5):
        with ThreadPoolExecutor(2) as threads:
            outcomes = list(
                threads.map(
                    lambda pair: Installation(pool).do(c.Disable(principal_id=pair[0]), by=pair[1]),
                    [(OPERATOR, second), (second, OPERATOR)],
                )
            )
        assert sorted(outcome.denial is None for outcome in outcomes) == [False, True]
        for operator in (OPERATOR, second):
            done(known.do(c.Enable(principal_id=operator)))


def test_commands_of_many_processes_all_find_their_place(pool: RecorderPool) -> None:
    known = begun(pool)
    ends_at = clock.now() + timedelta(days=1)
    with ThreadPoolExecutor(4) as threads:
        outcomes = list(
            threads.map(
                lambda number: Installation(pool).do(key_for(CLIENT, f"key{number:07d}", ends_at=ends_at)),
                range(24),
            )
        )
    assert all(outcome.denial is None for outcome in outcomes)
    assert len(known.registry().principals[CLIENT].keys) == 24


def test_the_librarys_repository_folds_one_client(pool: RecorderPool) -> None:
    known = begun(pool)
    done(known.do(c.Grant(principal_id=CLIENT, role="viewer")))

    def project(folded: "Folded | None", events: Iterator[EventOfStream]) -> "Folded | None":
        for event in events:
            before = folded.registry if folded else Registry()
            folded = Folded(event.originator_id, evolve(before, [(event.originator_id, event.recorded)]))
        return folded

    folded = known.repository.get(f"client:{CLIENT}", projector_func=project)  # type: ignore[arg-type]
    assert folded.version == 2
    assert folded.registry.principals[CLIENT] == known.registry().principals[CLIENT]


class Folded:
    """One client or person, in the form that the library's repository needs."""

    def __init__(self, stream: str, registry: Registry) -> None:
        self.id = stream
        self.registry = registry
        (self.principal,) = registry.principals.values()

    @property
    def version(self) -> int:
        return self.principal.version


def test_a_subscription_of_the_library_gets_every_fact_once(pool: RecorderPool) -> None:
    known = begun(pool)
    with known.recorder.subscribe(gt=0) as subscription:
        topics = [next(subscription).topic for _ in range(8)]
    assert topics[:2] == [e.MerchantAdded.__name__, e.ShopEnrolled.__name__]
    assert topics[-1] == e.ClientAdded.__name__


def test_the_log_is_signed_and_verified_as_any_shops(database_url: str, pool: RecorderPool, tmp_path: Path) -> None:
    known = begun(pool)
    log = SignedLog(database_url, tmp_path)
    log.sign(INSTALLATION)
    done(known.do(c.Grant(principal_id=CLIENT, role="viewer")))
    verified = log.verify(INSTALLATION)
    assert (verified.intact, verified.events, verified.checkpoints) == (True, 9, 1)
    log.tamper(
        """UPDATE event SET payload = convert_to(
               replace(convert_from(payload, 'UTF8'), 'manager', 'operator'), 'UTF8');"""
        + REHASH
    )
    assert not log.verify(INSTALLATION).intact, "a role that was slipped in shows"


def test_the_worker_of_the_views_passes_over_the_log(database_url: str, pool: RecorderPool) -> None:
    begun(pool)

    async def work(async_pool: object, _: object) -> None:
        await Worker(async_pool, BOOK).catch_up(INSTALLATION)  # type: ignore[arg-type]
        async with async_pool.read() as connection:  # type: ignore[attr-defined]
            parked = await connection.execute("SELECT count(*) FROM parked")
            assert await parked.fetchone() == (0,)

    on_database(database_url, work)
