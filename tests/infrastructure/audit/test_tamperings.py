"""The nine tamperings, as the demonstration does them."""

from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from benchmarks.tamperings import Wrong, _drop_database, find_all, signed_log, tamperings


def test_each_tampering_is_found_and_named(server_url: str, tmp_path: Path) -> None:
    with psycopg.connect(server_url) as connection:
        superuser = connection.execute("SELECT usesuper FROM pg_user WHERE usename = current_user").fetchone()
    if superuser != (True,):
        pytest.skip("tampering needs a superuser")
    signed = signed_log(server_url, tmp_path, f"signed_{uuid4().hex[:12]}")
    try:
        found = list(find_all(signed))
        assert [each.tampering for each in found] == [each.name for each in tamperings(signed.url(signed.log))]
        assert len(found) == 9
        assert all(each.made_to_look_right.startswith("checkpoint ") for each in found)
        assert sum(each.as_it_comes.startswith("position ") for each in found) == 8

        # The demonstration itself notices what is not found: with no checkpoint but the newest, less can be said.
        for kept in signed.archive.checkpoints.of("shop-0")[:-1]:
            kept.file.unlink()
        with pytest.raises(Wrong):
            list(find_all(signed))
    finally:
        _drop_database(server_url, signed.backup)
        _drop_database(server_url, signed.log)
