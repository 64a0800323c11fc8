"""A signed log of the test's own."""

from pathlib import Path

import pytest

from tests.infrastructure.audit.signed import SignedLog


@pytest.fixture
def log(database_url: str, tmp_path: Path) -> SignedLog:
    """A shop with fifteen orders, placed (positions 1 to 15) and formed (16 to 30), not signed yet."""
    log = SignedLog(database_url, tmp_path)
    log.fill(15)
    return log
