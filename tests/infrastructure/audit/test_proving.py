"""Proofs from tiles are the same as those from all leaves, in logs of any size. Changed events are not proven."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks import lives
from domain.order import commands as c
from infrastructure.audit import merkle, signing, tiles
from infrastructure.audit.archive import LogDiffers
from infrastructure.audit.checkpoint import Checkpoint, Signed
from infrastructure.audit.keys import BadKey
from infrastructure.audit.note import VerifierKey
from infrastructure.audit.proving import prove_consistency, prove_inclusion
from infrastructure.audit.signing import make_checkpoint
from infrastructure.database.pool import WriteConnection
from tests.infrastructure.audit.signed import REHASH, SignedLog
from tests.infrastructure.audit.test_merkle import proof_of
from tests.orders import SHOP, on_database, order_command, order_sn

Connection = WriteConnection

LARGE = 140_000
"""A bit more than two tiles of level 2: proofs read three levels."""


def unsigned(size: int, leaves: list[bytes]) -> Signed:
    return Signed(
        Checkpoint("test/large", size, tree_root(leaves[:size])), "", VerifierKey("test/large", bytes(32))
    )


def tree_root(leaves: list[bytes]) -> bytes:
    rows = merkle.levels(leaves)
    return merkle.joined([rows[level][number] for level, number in merkle.complete((0, len(leaves)))])


@pytest.fixture
def large(log: SignedLog) -> list[bytes]:
    """The leaf hashes of a shop called large, whose events have nothing but leaf hashes."""
    log.tamper(
        f"""INSERT INTO event
            SELECT 'large', n, 'order:' || n, 1, gen_random_uuid(), 'GroupFormed', 1, now(), now(), '', '',
                   sha256(int8send(n)) FROM generate_series(1, {LARGE}) n;
            INSERT INTO shop_log VALUES ('large', {LARGE}, now());"""
    )

    async def read(connection: Connection) -> bytes:
        cursor = await connection.execute(
            "SELECT string_agg(leaf_hash, '' ORDER BY position) FROM event WHERE shop_id = 'large'", binary=True
        )
        (joined,) = await cursor.fetchone() or (b"",)
        return bytes(joined)

    joined = log.on_connection(read)
    return [joined[n : n + 32] for n in range(0, len(joined), 32)]


def test_proofs_of_a_large_log_are_the_same_as_those_of_the_whole_tree(log: SignedLog, large: list[bytes]) -> None:
    places = [(1, 1), (1, 256), (257, 257), (65_536, 65_537), (70_000, LARGE), (LARGE, LARGE), (131_073, 139_999)]
    sizes = [(1, LARGE), (256, 65_536), (65_537, 131_073), (100_000, 139_999), (131_072, LARGE), (LARGE, LARGE)]

    async def work(connection: Connection) -> None:
        for position, size in places:
            (inclusion,) = await prove_inclusion(connection, "large", [position], unsigned(size, large))
            assert inclusion.proof == proof_of(merkle.inclusion(position - 1, size), large[:size])
            assert inclusion.leaf_hash == large[position - 1].hex()
        for old, new in sizes:
            consistency = await prove_consistency(connection, "large", unsigned(old, large), unsigned(new, large))
            assert consistency.proof == proof_of(merkle.consistency(old, new), large[:new])
        for lost in ("false", "level = 2 OR number = 0"):
            await connection.execute(f"DELETE FROM tile WHERE shop_id = 'large' AND ({lost})".encode())
            await tiles.extend(connection, "large", LARGE)
            cursor = await connection.execute(
                "SELECT level, number, octet_length(hashes) / 32 FROM tile WHERE shop_id = 'large' ORDER BY 1, 2"
            )
            assert await cursor.fetchall() == [(1, 0, 256), (1, 1, 256), (1, 2, LARGE // 256 - 512), (2, 0, 2)]

    log.on_connection(work)


def test_a_proof_reads_a_few_rows_of_a_large_log(log: SignedLog, large: list[bytes]) -> None:
    signed = unsigned(LARGE, large)

    async def rows_read(connection: Connection) -> int:
        cursor = await connection.execute(
            "SELECT idx_tup_fetch + seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = 'event'"
        )
        row = await cursor.fetchone()
        return int(row[0]) if row else 0

    async def work(connection: Connection) -> int:
        await prove_inclusion(connection, "large", [1], signed)
        async with connection.transaction():
            before = await rows_read(connection)
            await prove_inclusion(connection, "large", [70_000], signed)
            return await rows_read(connection) - before

    assert 0 < log.on_connection(work) <= 512


def test_tiles_that_are_lost_or_wrong_are_made_anew(log: SignedLog, large: list[bytes]) -> None:
    signed = unsigned(LARGE, large)

    async def work(connection: Connection) -> None:
        right = await prove_inclusion(connection, "large", [70_000], signed)
        for damage in (
            "DELETE FROM tile",
            "DELETE FROM tile WHERE number = 0",
            "UPDATE tile SET hashes = sha256('x')",
            "UPDATE tile SET hashes = decode(repeat('00', 8192), 'hex') WHERE level = 1",
        ):
            await connection.execute(damage.encode())
            assert await prove_inclusion(connection, "large", [70_000], signed) == right

    log.on_connection(work)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_every_event_is_proven_in_every_checkpoint(log: SignedLog, data: st.DataObject) -> None:
    signed = log.sign()
    size = signed.checkpoint.size
    positions = data.draw(st.lists(st.integers(1, size), min_size=1, max_size=5, unique=True))
    proofs = log.on_connection(lambda connection: prove_inclusion(connection, SHOP, positions, signed))
    assert [proof.position for proof in proofs] == positions
    for proof in proofs:
        leaf = bytes.fromhex(proof.leaf_hash)
        assert merkle.included(leaf, proof.position - 1, size, proof.proof, signed.checkpoint.root)


def test_an_event_that_was_changed_after_it_was_signed_is_not_proven(log: SignedLog) -> None:
    signed = log.sign()
    log.tamper("UPDATE event SET payload = payload || ' '::bytea WHERE position = 12;" + REHASH)
    for position in (12, 13):
        with pytest.raises(LogDiffers, match=f"position {position}"):
            log.on_connection(lambda connection, n=position: prove_inclusion(connection, SHOP, [n], signed))  # type: ignore[misc]
    log.tamper("DELETE FROM event WHERE position = 20")
    with pytest.raises(LogDiffers, match="Not all 30 events"):
        log.on_connection(lambda connection: prove_inclusion(connection, SHOP, [1], signed))


# ---- checkpoints ------------------------------------------------------------------------------------


def grow(log: SignedLog) -> None:
    on_database(
        log.url,
        lambda pool, path: path.submit(
            [order_command(order_sn(1), c.UploadTracking(carrier="SF", tracking_number="SF1"))]
        ),
    )


@pytest.mark.parametrize("whole", [True, False])
def test_a_new_checkpoint_extends_the_last_one(
    log: SignedLog, whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "WHOLE_UP_TO", 10)
    first = log.sign(whole=whole)
    again = make_checkpoint(log.url, SHOP, log.archive, whole=whole)
    assert again
    assert (again.new, again.signed) == (False, first)
    grow(log)
    second = log.sign(whole=whole)
    assert (first.checkpoint.size, second.checkpoint.size) == (30, 31)
    assert log.verify().intact
    log.on_connection(lambda connection: prove_consistency(connection, SHOP, first, second))


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE event SET payload = payload || ' '::bytea WHERE position = 12",
        "DELETE FROM event WHERE position > 20; UPDATE shop_log SET position = 20",
        "DELETE FROM event WHERE position = 3",
        "UPDATE shop_log SET recorded_at = 'infinity'",
        "UPDATE shop_log SET recorded_at = '2000-01-01 BC'",
    ],
)
@pytest.mark.parametrize("after", ["", REHASH + "DELETE FROM tile"])
def test_a_log_that_was_changed_gets_no_checkpoint(
    log: SignedLog, whole: bool, tampering: str, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "WHOLE_UP_TO", 10)
    log.sign()
    grow(log)
    log.tamper(f"{tampering}; {after}")
    with pytest.raises(LogDiffers):
        log.sign(whole=whole)
    assert [file.size for file in log.archive.checkpoints.of(SHOP)] == [30]


@pytest.mark.parametrize("shop", ["../aside", "/tmp", "", "x" * 300])
def test_a_shop_whose_id_is_invalid_gets_no_checkpoint_and_no_folder(log: SignedLog, shop: str) -> None:
    log.tamper(f"UPDATE event SET shop_id = '{shop}'; UPDATE shop_log SET shop_id = '{shop}'; {REHASH}")
    assert log.verify(shop).intact
    with pytest.raises(LogDiffers, match="no id"):
        log.sign(shop)
    assert log.archive.checkpoints.shops() == []


def test_in_a_large_log_only_new_events_are_recomputed(log: SignedLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing, "WHOLE_UP_TO", 1_000)
    lives.fill(log.url, 9_000, 1)
    head = """UPDATE shop_log s SET position = e.position, recorded_at = e.recorded_at
              FROM (SELECT * FROM event WHERE shop_id = 'shop-0' ORDER BY position DESC LIMIT 1) e
              WHERE s.shop_id = e.shop_id;"""
    log.tamper("CREATE TABLE later AS SELECT * FROM event WHERE shop_id = 'shop-0' AND position > 8500")
    log.tamper("DELETE FROM event WHERE shop_id = 'shop-0' AND position > 8500;" + head)
    assert log.sign("shop-0").checkpoint.size == 8_500
    log.tamper("INSERT INTO event TABLE later;" + head)
    log.tamper("UPDATE event SET payload = payload || ' '::bytea WHERE shop_id = 'shop-0' AND position = 12")
    assert log.sign("shop-0", whole=False).checkpoint.size == 9_000
    assert log.verify("shop-0").first_bad_position == 12, "a verification reads everything"


def test_keys_that_went_missing_are_not_made_anew(log: SignedLog) -> None:
    """If they were, every shop without a checkpoint would be signed under another name."""
    signed, folder = log.sign(), log.archive.keys.folder
    log.fill(1, "another")
    folder.rename(folder.with_name("elsewhere"))
    for shop in (SHOP, "another"):
        with pytest.raises(BadKey, match="Bring that folder back"):
            log.sign(shop)
    assert not folder.exists()
    folder.with_name("elsewhere").rename(folder)
    assert log.sign("another").key.public == signed.key.public
