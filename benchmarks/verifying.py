"""Verifying a log: every event recomputed, every checkpoint compared; its peer is a raw COPY of the events."""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.progress import Progress

from benchmarks import lives
from benchmarks.rebuilding import SHOPS, TURNS, raw_copy
from benchmarks.table import Result
from infrastructure.audit.archive import Archive
from infrastructure.audit.checkpoints import Checkpoints
from infrastructure.audit.keys import Keys
from infrastructure.audit.signing import make_checkpoint
from infrastructure.audit.verification import verify

EVENTS = 1_000_000


def against_copy(url: str, events: int, progress: Progress) -> Result:
    """A verification over all cores, by turns with a raw COPY of the same events to a client."""
    lives.fill(url, events, SHOPS, progress)
    shops = [f"shop-{n}" for n in range(SHOPS)]
    with tempfile.TemporaryDirectory() as folder:
        archive = Archive(Keys(Path(folder) / "keys"), Checkpoints(Path(folder) / "checkpoints"))
        for shop in shops:
            make_checkpoint(url, shop, archive, whole=True)
        raw_copy(url)
        copies, verifications = [], []
        for _ in range(TURNS):
            copies.append(raw_copy(url))
            began = time.perf_counter()
            results = list(verify(url, shops, archive))
            verifications.append(time.perf_counter() - began)
            assert all(each.intact and each.checkpoints == 1 for each in results), results
    return Result(
        f"audit verify, {events:,} events",
        "events",
        events / statistics.median(verifications),
        "raw binary COPY out",
        events / statistics.median(copies),
        f"{statistics.median(verifications):.1f} s over all cores",
    )


def all_of_it(fresh: Callable[[str], str], events: int, progress: Progress) -> Iterator[Result]:
    """A log of a million events, or as many as requested if those are fewer."""
    yield against_copy(fresh("verify"), min(events, EVENTS), progress)
