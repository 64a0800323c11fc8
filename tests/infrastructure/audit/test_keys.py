"""Keys and checkpoints are files: written once as a whole, and never silently replaced."""

import stat
import threading
from pathlib import Path

import pytest

from infrastructure.audit import checkpoint, note
from infrastructure.audit.archive import Archive
from infrastructure.audit.checkpoint import Checkpoint, Signed
from infrastructure.audit.checkpoints import Checkpoints
from infrastructure.audit.keys import BadKey, Keys, followed
from infrastructure.audit.merkle import EMPTY
from infrastructure.audit.note import VerifierKey

SHOP = "100000001"


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(Keys(tmp_path / "secret" / "keys"), Checkpoints(tmp_path / "checkpoints"))


def signed(archive: Archive, size: int, root: bytes = EMPTY) -> Signed:
    key, origin = archive.keys.signer(), archive.keys.origin(SHOP)
    text = note.sign(Checkpoint(origin, size, root).text(), origin, key)
    return checkpoint.opened(text, archive.keys.verifiers(SHOP))


def test_the_first_key_is_made_when_it_is_needed_and_only_its_owner_can_read_it(archive: Archive) -> None:
    assert archive.keys.generations() == []
    with pytest.raises(BadKey, match="no key"):
        _ = archive.keys.name
    key = archive.keys.signer()
    assert archive.keys.signer().private_bytes_raw() == key.private_bytes_raw()
    private = archive.keys.folder / "0001.private.pem"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert stat.S_IMODE(archive.keys.folder.stat().st_mode) == 0o700
    assert private.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")


def test_programs_that_need_the_first_key_at_the_same_time_share_one(archive: Archive) -> None:
    keys = []
    threads = [threading.Thread(target=lambda: keys.append(archive.keys.signer())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({key.private_bytes_raw() for key in keys}) == 1


def test_after_a_rotation_the_new_key_signs_and_old_checkpoints_still_open(archive: Archive) -> None:
    before = signed(archive, 1)
    archive.checkpoints.add(SHOP, before)
    rotated = archive.keys.rotate()
    assert rotated.number == 2
    assert [file.name for file in archive.keys.folder.glob("*.private.pem")] == ["0002.private.pem"]
    for size in (2, 5):
        archive.checkpoints.add(SHOP, signed(archive, size))

    newest = archive.newest(SHOP)
    assert newest
    assert newest.checkpoint.size == 5
    assert newest.key != before.key
    assert newest.checkpoint.origin == before.checkpoint.origin
    assert archive.newest(SHOP, 1) == before
    old, new = archive.history(SHOP)
    assert (old.verifier_key, old.current, old.from_size, old.until_size) == (str(before.key), False, 1, 1)
    assert (new.verifier_key, new.current, new.from_size, new.until_size) == (str(newest.key), True, 2, 5)


def test_whoever_trusts_the_first_key_can_follow_to_the_last(archive: Archive) -> None:
    archive.keys.signer()
    archive.keys.rotate()
    archive.keys.rotate()
    first, *later = archive.keys.generations()
    trusted = VerifierKey(archive.keys.name, first.public)
    for generation in later:
        assert generation.handover
        text, _ = note.opened(generation.handover, [trusted])
        trusted = VerifierKey.parse(text.strip())
        assert trusted.public == generation.public
    assert trusted.public == archive.keys.signer().public_key().public_bytes_raw()


def test_handovers_lead_from_any_key_to_all_later_ones_and_to_no_other(archive: Archive, tmp_path: Path) -> None:
    archive.keys.signer()
    for _ in range(3):
        archive.keys.rotate()
    keys = archive.keys.verifiers(SHOP)
    handovers = [each.handover for each in archive.keys.generations() if each.handover]
    for n, key in enumerate(keys):
        assert followed(key, handovers) == keys[n:]
    assert followed(keys[0], handovers[1:]) == keys[:1], "one is missing"
    assert followed(keys[0], handovers[::-1]) == keys[:2], "in the order they were made"
    assert followed(keys[0], ["", "x\n\n— y z\n", *handovers]) == keys

    other = Keys(tmp_path / "other")
    other.signer()
    forged = other.rotate().handover
    assert forged
    assert followed(keys[0], [forged, forged.replace(other.name, archive.keys.name)]) == keys[:1]


def test_a_lost_key_is_reported_and_can_be_replaced(archive: Archive) -> None:
    before = signed(archive, 1)
    archive.checkpoints.add(SHOP, before)
    (archive.keys.folder / "0001.private.pem").unlink()
    with pytest.raises(BadKey, match="rotate-key --lost"):
        archive.keys.signer()
    with pytest.raises(BadKey, match="can't be read"):
        archive.keys.rotate()
    assert archive.keys.rotate(lost=True).handover is None
    archive.keys.signer()
    assert archive.newest(SHOP) == before


def test_a_private_key_that_does_not_fit_the_public_one_is_refused(archive: Archive, tmp_path: Path) -> None:
    archive.keys.signer()
    other = Keys(tmp_path / "other")
    other.signer()
    (other.folder / "0001.private.pem").replace(archive.keys.folder / "0001.private.pem")
    with pytest.raises(BadKey, match="not the private part"):
        archive.keys.signer()
    (archive.keys.folder / "0001.public.pem").write_bytes(b"no key")
    with pytest.raises(BadKey, match="can't be read"):
        archive.keys.signer()


def test_checkpoints_are_written_once_and_never_changed(archive: Archive) -> None:
    file = archive.checkpoints.add(SHOP, signed(archive, 12))
    assert archive.checkpoints.add(SHOP, signed(archive, 12)) == file
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o444
    with pytest.raises(FileExistsError):
        archive.checkpoints.add(SHOP, signed(archive, 12, root=bytes(32)))
    assert file.note() == signed(archive, 12).note
    assert [entry.name for entry in file.path.parent.iterdir()] == [file.path.name], "nothing is left behind"


def test_the_largest_checkpoint_is_the_newest(archive: Archive) -> None:
    assert archive.checkpoints.shops() == []
    assert archive.newest(SHOP) is None
    for size in (9, 1000, 100):
        archive.checkpoints.add(SHOP, signed(archive, size))
    (archive.checkpoints.folder / "empty").mkdir()
    assert [file.size for file in archive.checkpoints.of(SHOP)] == [9, 100, 1000]
    newest = archive.checkpoints.find(SHOP)
    assert newest
    assert newest.size == 1000
    assert archive.checkpoints.find(SHOP, 10) is None
    assert archive.checkpoints.shops() == [SHOP]
