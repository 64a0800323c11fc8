"""Verification recomputes a log from its events, with any number of processes, and names each problem precisely."""

import os

import pytest

from benchmarks import lives
from infrastructure.audit import recomputing, segment, signing
from infrastructure.audit.archive import LogDiffers
from infrastructure.audit.checkpoints import Checkpoints
from infrastructure.audit.signing import make_checkpoint
from infrastructure.audit.verification import verify
from infrastructure.runtime.processes import Died
from tests.infrastructure.audit.signed import REHASH, SignedLog
from tests.infrastructure.audit.test_merkle import root
from tests.orders import SHOP


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of four events and runs of eight, so that a small log has many of both."""
    monkeypatch.setattr(segment, "SEGMENT_EVENTS", 4)
    monkeypatch.setattr(recomputing, "SEGMENT_EVENTS", 4)
    monkeypatch.setattr(recomputing, "RUN_EVENTS", 8)


def leaves(log: SignedLog) -> list[bytes]:
    return [bytes(log.one("SELECT leaf_hash FROM event WHERE position = %s", n)) for n in range(1, 31)]


@pytest.mark.usefixtures("small")
def test_the_root_is_the_one_that_rfc_9162_defines(log: SignedLog) -> None:
    verified = log.verify()
    assert (verified.intact, verified.events, verified.checkpoints) == (True, 30, 0)
    assert verified.root == root(leaves(log)).hex()


def test_an_unknown_shop_is_intact_and_empty(log: SignedLog) -> None:
    verified = log.verify("nobody")
    assert (verified.intact, verified.events, verified.root) == (True, 0, root([]).hex())
    assert make_checkpoint(log.url, "nobody", log.archive, whole=True) is None


@pytest.mark.usefixtures("small")
def test_every_checkpoint_is_compared_wherever_it_falls_in_a_segment(log: SignedLog) -> None:
    hashes = leaves(log)
    log.sign()
    with_all = log.archive.checkpoints.of(SHOP)[0]
    log.tamper("CREATE TABLE whole AS SELECT * FROM event; CREATE TABLE head AS SELECT * FROM shop_log;")
    for size in range(1, 30):
        log.tamper(
            f"""TRUNCATE event, shop_log, tile; INSERT INTO event SELECT * FROM whole WHERE position <= {size};
                INSERT INTO shop_log SELECT shop_id, {size}, (SELECT max(recorded_at) FROM event) FROM head;"""
        )
        with_all.path.rename(with_all.path.with_suffix(".aside"))
        assert log.sign().checkpoint.root == root(hashes[:size])
        with_all.path.with_suffix(".aside").rename(with_all.path)
    log.tamper(
        "TRUNCATE event, shop_log, tile; INSERT INTO event SELECT * FROM whole; INSERT INTO shop_log TABLE head;"
    )
    verified = log.verify()
    assert (verified.intact, verified.checkpoints, verified.newest_checkpoint) == (True, 30, 30)
    log.tamper("UPDATE event SET payload = payload || ' '::bytea WHERE position = 12;" + REHASH)
    verified = log.verify()
    assert [problem.checkpoint for problem in verified.problems] == list(range(12, 31))
    assert "at 12" in verified.problems[0].detail


def test_several_processes_report_the_same_as_one(log: SignedLog, monkeypatch: pytest.MonkeyPatch) -> None:
    lives.fill(log.url, 30_000, 2)
    log.tamper("UPDATE event SET payload = 'x' WHERE shop_id = 'shop-1' AND position = 9000")
    shops = [SHOP, "shop-0", "nobody", "shop-1"]
    by_one = list(verify(log.url, shops, log.archive, processes=1))
    monkeypatch.setattr(recomputing, "SMALL", 1_000)
    steps: list[tuple[int, int]] = []
    by_three = list(verify(log.url, shops, log.archive, processes=3, on_progress=lambda *step: steps.append(step)))
    assert by_three == by_one
    assert [each.intact for each in by_three] == [True, True, True, False]
    assert by_three[3].first_bad_position == 9000
    assert steps == sorted(steps)
    assert steps[-1] == (30_030, 30_030)


def test_a_verification_fails_when_one_of_its_processes_dies(
    log: SignedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    lives.fill(log.url, 8_000, 1)
    monkeypatch.setattr(recomputing, "SMALL", 1_000)
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(Died):
        list(verify(log.url, ["shop-0"], log.archive, processes=2))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("statement", "position", "expected"),
    [
        ("UPDATE event SET version = version + 2 WHERE position = 11", 11, "version 3 of"),
        ("UPDATE event SET version = 7 WHERE position = 29", 29, "after version 1"),
        ("UPDATE event SET recorded_at = recorded_at - interval '1 day' WHERE position = 9", 9, "precedes"),
        ("UPDATE event SET recorded_at = recorded_at - interval '1 day' WHERE position = 10", 10, "precedes"),
        ("UPDATE event SET payload = '{' WHERE position = 5", 5, "can't be read"),
        ("UPDATE event SET type = 'GroupFailed' WHERE position = 25", 25, "can't be read"),
        ("UPDATE event SET metadata = '[]' WHERE position = 5", 5, "can't be read"),
        ("UPDATE event SET schema_version = 9 WHERE position = 30", 30, "can't be read"),
        ("UPDATE event SET stream = 'order:x' WHERE position = 30", 30, "after none"),
        (
            "UPDATE event SET stream = 'order:' || repeat('x', 300) WHERE position = 30",
            30,
            "after none",
        ),
        ("DELETE FROM event WHERE position IN (13, 14)", 13, "every event to position 14"),
        ("DELETE FROM event WHERE position = 30", 30, "there are 30"),
        ("DELETE FROM event WHERE position = 1", 1, "missing"),
        ("UPDATE shop_log SET position = 28", 29, "behind the head"),
        ("UPDATE shop_log SET recorded_at = now()", 30, "another time"),
        ("UPDATE shop_log SET recorded_at = 'infinity'", 30, "another time"),
        ("UPDATE shop_log SET recorded_at = '-infinity'", 30, "another time"),
        ("UPDATE shop_log SET recorded_at = '2000-01-01 BC'", 30, "another time"),
        ("UPDATE shop_log SET recorded_at = '294270-01-01'", 30, "another time"),
        (
            "ALTER TABLE shop_log ALTER recorded_at DROP NOT NULL; UPDATE shop_log SET recorded_at = NULL",
            30,
            "another time",
        ),
        ("UPDATE event SET recorded_at = '2000-01-01 BC' WHERE position = 30", 30, "recorded"),
        ("DELETE FROM shop_log", 1, "behind the head"),
        ("UPDATE event SET position = 0 WHERE position = 8", 0, "before the first"),
    ],
)
def test_tampering_shows_even_when_the_leaf_hashes_were_recomputed(
    log: SignedLog, statement: str, position: int, expected: str
) -> None:
    """This needs no checkpoint: the hashes are right, but this program never writes such a log."""
    log.tamper(statement + ";" + REHASH)
    verified = log.verify()
    assert not verified.intact
    assert verified.first_bad_position == position
    assert expected in verified.problems[0].detail


def cpu_seconds() -> float:
    """What this process and those it has waited for have used: on a busy machine the clock says less."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


@pytest.mark.parametrize("far", [2_000, 10_000_000, 9_000_000_000_000_000_000, (1 << 63) - 1])
@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("processes", [1, 2])
def test_a_gap_of_any_width_is_reported_quickly(log: SignedLog, far: int, *, head: bool, processes: int) -> None:
    log.sign()
    log.tamper(f"UPDATE event SET position = {far} WHERE position = 30;" + REHASH)
    if head:
        log.tamper(f"UPDATE shop_log SET position = {far}")
    before = cpu_seconds()
    verified = log.verify(processes=processes)
    assert cpu_seconds() - before < 20, "however wide the gap is"
    assert (verified.events, verified.root, verified.first_bad_position) == (far, None, 30)
    assert verified.problems[0].detail == f"it is missing, and so is every event to position {far - 1}"
    assert verified.first_broken_checkpoint == 30
    with pytest.raises(LogDiffers, match="position 30"):
        log.sign()


@pytest.mark.usefixtures("small")
def test_a_gap_is_one_problem_and_the_events_behind_it_are_checked(log: SignedLog) -> None:
    log.sign()
    log.tamper(
        f"""UPDATE event SET position = position + 1000 WHERE position > 10; UPDATE shop_log SET position = 1030;
            {REHASH} UPDATE event SET leaf_hash = 'x' WHERE position = 1025"""
    )
    problems = [problem for problem in log.verify().problems if problem.position]
    assert [problem.position for problem in problems if "missing" in problem.detail] == [11]
    assert "every event to position 1010" in problems[0].detail
    assert [problem.position for problem in problems if "leaf hash" in problem.detail] == [1025]


def test_a_head_beyond_the_last_event_means_that_events_are_missing(
    log: SignedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "WHOLE_UP_TO", 10)
    log.sign()
    log.tamper("UPDATE shop_log SET position = 9000000000000000000")
    assert log.verify().first_bad_position == 31
    for whole in (True, False):
        with pytest.raises(LogDiffers, match="position 31: it is missing"):
            log.sign(whole=whole)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE event SET occurred_at = 'infinity' WHERE position = 5",
        "UPDATE event SET occurred_at = '294270-01-01' WHERE position = 5",
        "UPDATE event SET recorded_at = 'infinity' WHERE position = 5",
        "UPDATE event SET recorded_at = '2000-01-01 BC' WHERE position = 5",
        "UPDATE event SET leaf_hash = 'short' WHERE position = 5",
        "ALTER TABLE event ALTER payload DROP NOT NULL; UPDATE event SET payload = NULL WHERE position = 5",
        "ALTER TABLE event ALTER occurred_at DROP NOT NULL; UPDATE event SET occurred_at = NULL WHERE position = 5",
        "ALTER TABLE event ALTER leaf_hash DROP NOT NULL; UPDATE event SET leaf_hash = NULL WHERE position = 5",
        "ALTER TABLE event DROP CONSTRAINT event_pkey; UPDATE event SET position = 5 WHERE position = 6",
        "UPDATE event SET shop_id = 'elsewhere' WHERE position = 5",
    ],
)
def test_values_that_no_program_writes_are_reported_too(log: SignedLog, statement: str) -> None:
    log.tamper(statement)
    assert log.verify().first_bad_position == 5


def test_events_of_another_program_in_the_same_log_are_intact(log: SignedLog) -> None:
    """This program can't read them and need not: their hashes are right."""
    log.tamper(
        f"""UPDATE event SET stream = repeat('x', 300), version = 1, type = 'other:Thing', payload = 'binary'
            WHERE position = 30; {REHASH}"""
    )
    assert log.verify().intact


def test_events_of_a_shop_without_a_head_are_a_problem(log: SignedLog) -> None:
    log.tamper("UPDATE event SET shop_id = 'elsewhere' WHERE position = 5")
    assert log.verify("elsewhere").first_bad_position is not None


def test_a_checkpoint_file_that_is_not_ours_or_does_not_fit_its_name_is_reported(log: SignedLog) -> None:
    log.sign()
    (file,) = log.archive.checkpoints.of(SHOP)
    note = file.note()
    folder = file.path.parent
    (folder / "000000000012-00000000.checkpoint").write_text(note.replace(SHOP, "1"), encoding="utf-8")
    (folder / "000000000013-00000000.checkpoint").write_text(note.replace("30\n", "13\n", 1), encoding="utf-8")
    (folder / "000000000014-00000000.checkpoint").write_bytes(b"\xff\n\n")
    (folder / "notes.txt").write_text("not one", encoding="utf-8")
    verified = log.verify()
    assert [problem.checkpoint for problem in verified.problems] == [12, 13, 14]
    for problem, expected in zip(
        verified.problems, ("no key that is known", "is wrong", "no signed note"), strict=True
    ):
        assert expected in problem.detail


def test_checkpoints_of_another_installation_are_broken(log: SignedLog) -> None:
    log.sign()
    other = SignedLog(log.url, log.archive.keys.folder.parent / "other")
    other.sign()
    mixed = other.archive._replace(checkpoints=Checkpoints(log.archive.checkpoints.folder))
    (verified,) = verify(log.url, [SHOP], mixed)
    assert verified.first_broken_checkpoint == 30
