"""The nine tamperings of the demonstration."""

from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from benchmarks.tamperings import Wrong, find_all, signed_log, tamperings


def test_each_tampering_is_detected_and_named(server_url: str, tmp_path: Path) -> None:
    with psycopg.connect(server_url) as connection:
        superuser = connection.execute("SELECT usesuper FROM pg_user WHERE usename = current_user").fetchone()
    if superuser != (True,):
        pytest.skip("tampering needs a superuser")
    signed = signed_log(server_url, tmp_path, f"signed_{uuid4().hex[:12]}")
    try:
        detected = list(find_all(signed))
        assert [result.tampering for result in detected] == [
            tampering.name for tampering in tamperings(signed.url(signed.log))
        ]
        assert len(detected) == 9
        assert all(result.made_to_look_right.startswith("checkpoint ") for result in detected)
        assert sum(result.as_it_comes.startswith("position ") for result in detected) == 8

        # The demonstration fails if verification says less than it expects, as with the newest checkpoint alone.
        for file in signed.archive.checkpoints.of("shop-0")[:-1]:
            file.path.unlink()
        with pytest.raises(Wrong):
            list(find_all(signed))
    finally:
        signed.drop()
