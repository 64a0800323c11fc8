"""Verification: a shop's log is recomputed from its events and compared with every checkpoint.

Processes recompute the segments of the log in parallel (``segment``). This file puts the results together: streams
that continue from one segment to the next, the head, and the Merkle root at each checkpoint's size. Nothing derived
is trusted: neither the stored leaf hashes nor the tiles.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import repeat

import msgspec
from psycopg import Connection
from psycopg.rows import TupleRow

from infrastructure.audit.archive import Archive
from infrastructure.audit.checkpoint import Checkpoint, opened
from infrastructure.audit.checkpoints import CheckpointFile
from infrastructure.audit.merkle import Growing
from infrastructure.audit.note import BadNote, VerifierKey
from infrastructure.audit.recomputing import Run, connect, recomputed, runs
from infrastructure.audit.segment import LogFinding, Segment, Streams, micros, missing

MOST_PROBLEMS = 100
"""No more problems at positions, and no more with checkpoints, are reported for a shop. The first ones matter."""

OTHER_TIME = "the head of the log says that it was recorded at another time"

# The time as its bytes: in a head that was tampered with it may be no valid datetime.
_HEAD = """
SELECT (SELECT max(position) FROM shop_log WHERE shop_id = %(shop)s),
       (SELECT timestamptz_send(max(recorded_at)) FROM shop_log WHERE shop_id = %(shop)s),
       (SELECT min(position) FROM event WHERE shop_id = %(shop)s),
       (SELECT max(position) FROM event WHERE shop_id = %(shop)s)
"""


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """A problem at a position of the log, or with the checkpoint of a size."""

    detail: str
    position: int | None = None
    checkpoint: int | None = None


class Verified(msgspec.Struct, frozen=True):
    """The result of a shop's verification.

    ``root`` is that of the whole log, in hexadecimal; null if an event is missing. ``problems`` has those at
    positions first, then those with checkpoints.
    """

    shop_id: str
    intact: bool
    events: int
    root: str | None
    checkpoints: int
    newest_checkpoint: int | None
    first_bad_position: int | None
    first_broken_checkpoint: int | None
    problems: list[Problem]


OnProgress = Callable[[int, int], None]
"""Is called with the number of recomputed events and the number of all events."""


class _Log:
    """One shop's verification: its head and checkpoints, and the results of its segments so far."""

    def __init__(self, connection: Connection[TupleRow], shop_id: str, archive: Archive) -> None:
        self.shop_id = shop_id
        self.position_problems: list[Problem] = []
        self.checkpoint_problems: list[Problem] = []
        files = archive.checkpoints.of(shop_id)
        self.checkpoint_count = len(files)
        row = connection.execute(_HEAD, {"shop": shop_id}).fetchone()
        assert row
        self.head, recorded_at, lowest, highest = row
        self.head_recorded = micros(recorded_at) if recorded_at else None
        self.size: int = highest or 0
        self._tree: Growing | None = Growing()
        self._versions: dict[bytes, int] = {}
        self._recorded = -(1 << 63)
        self._last_good = 0
        self._gaps: list[LogFinding] = []
        self.signed = self._opened(files, archive.keys.verifiers(shop_id))
        if lowest is not None and lowest < 1:
            self.position_problems.append(Problem("an event stands before the first position", position=lowest))

    def _opened(self, files: Sequence[CheckpointFile], keys: Sequence[VerifierKey]) -> dict[int, list[Checkpoint]]:
        """The checkpoints to compare with, by size. The others are problems already."""
        signed: dict[int, list[Checkpoint]] = {}
        for file in files:
            try:
                checkpoint = opened(file.note(), keys).checkpoint
                if checkpoint.size != file.size:
                    raise BadNote(f"it is one of size {checkpoint.size}")
            except (BadNote, OSError) as error:
                self._broken(file.size, f"the file {file.path.name} is no checkpoint of this log: {error}")
                continue
            if checkpoint.size > self.size:
                self._broken(
                    checkpoint.size,
                    f"it has {checkpoint.size} events, the log has {self.size}: the log lost its end, or an old "
                    "backup took its place",
                )
            else:
                signed.setdefault(checkpoint.size, []).append(checkpoint)
        return signed

    def runs(self, processes: int) -> Iterator[Run]:
        return runs(self.shop_id, self.size, sorted(self.signed), processes)

    def add(self, segment: Segment) -> None:
        """Add the result of the next segment."""
        for finding in segment.findings:
            self._add_finding(finding)
        first, latest = segment.recorded
        if first < self._recorded:
            detail = "it says it was recorded before the event that precedes it"
            self.position_problems.append(Problem(detail, position=segment.start + 1))
        self._recorded = max(self._recorded, latest)
        if not segment.nodes:
            self._tree = None
        for cut, nodes in segment.cuts.items():
            tree = self._tree.copy() if self._tree else None
            for level, node in nodes:
                if tree:
                    tree.append(node, level)
            self._compare(cut, tree.root() if tree else None)
        if self._tree:
            for level, node in segment.nodes:
                self._tree.append(node, level)
        else:
            for size in [size for size in self.signed if segment.start < size <= segment.end]:
                if size not in segment.cuts:
                    self._compare(size, None)

    def _add_finding(self, finding: LogFinding) -> None:
        """Add a finding. A gap that begins where the last gap ended extends it."""
        if finding.missing_to is None:
            self.position_problems.append(Problem(finding.detail, position=finding.position))
        elif self._gaps and self._gaps[-1].missing_to == finding.position - 1:
            self._gaps[-1] = missing(self._gaps[-1].position, finding.missing_to)
        else:
            self._gaps.append(finding)

    def follow(self, streams: Streams, since: int, until: int, connection: Connection[TupleRow]) -> None:
        """Check that the streams of a run continue from the versions where the runs before it ended."""
        known = self._versions
        wrong = [
            (stream, version)
            for (stream, version), before in zip(
                streams.continued.items(), map(known.get, streams.continued, repeat(0)), strict=True
            )
            if version != before + 1
        ]
        wrong += [(stream, 1) for stream in known.keys() & streams.last.keys() if stream not in streams.continued]
        for stream, version in wrong:
            name = stream.decode()
            row = connection.execute(
                """SELECT min(position) FROM event
                   WHERE shop_id = %s AND stream = %s AND version = %s AND position > %s AND position <= %s""",
                (self.shop_id, name, version, since, until),
            ).fetchone()
            before = f"version {known[stream]}" if stream in known else "none"
            self.position_problems.append(
                Problem(f"it is version {version} of {name}, after {before}", position=row[0] if row else None)
            )
        known.update(streams.last)

    def _compare(self, size: int, root: bytes | None) -> None:
        for checkpoint in self.signed[size]:
            if root == checkpoint.root:
                self._last_good = size
                continue
            since = self._last_good + 1
            where = f"at {size}" if since == size else f"from {since} to {size}"
            self._broken(size, f"it no longer holds: something was changed at a position {where}")

    def _broken(self, size: int, detail: str) -> None:
        self.checkpoint_problems.append(Problem(detail, checkpoint=size))

    def verified(self) -> Verified:
        self._check_head()
        for size in self.signed.keys() & {0}:
            self._compare(size, Growing().root())
        gaps = [Problem(gap.detail, position=gap.position) for gap in self._gaps]
        positions = sorted(gaps + self.position_problems, key=lambda problem: problem.position or 0)
        checkpoints = sorted(self.checkpoint_problems, key=lambda problem: problem.checkpoint or 0)
        return Verified(
            shop_id=self.shop_id,
            intact=not positions and not checkpoints,
            events=self.size,
            root=self._tree.root().hex() if self._tree else None,
            checkpoints=self.checkpoint_count,
            newest_checkpoint=max(self.signed, default=None),
            first_bad_position=positions[0].position if positions else None,
            first_broken_checkpoint=checkpoints[0].checkpoint if checkpoints else None,
            problems=[*positions[:MOST_PROBLEMS], *checkpoints[:MOST_PROBLEMS]],
        )

    def _check_head(self) -> None:
        head = self.head or 0
        if head > self.size:
            detail = f"it is missing: the head of the log says that there are {head}"
            self.position_problems.append(Problem(detail, position=self.size + 1))
        elif head < self.size:
            detail = f"it stands behind the head of the log, which says that there are {head}"
            self.position_problems.append(Problem(detail, position=head + 1))
        elif head and self.head_recorded != self._recorded:
            self.position_problems.append(Problem(OTHER_TIME, position=head))


def verify(
    url: str,
    shop_ids: Sequence[str],
    archive: Archive,
    *,
    processes: int | None = None,
    on_progress: OnProgress = lambda done, total: None,
) -> Iterator[Verified]:
    """Verify logs one after another, each on all cores, against the checkpoints of an archive.

    Each log is verified up to the last event that it has at the start.
    """
    processes = processes or os.cpu_count() or 1
    with connect(url) as connection:
        logs = deque(_Log(connection, shop_id, archive) for shop_id in shop_ids)
        done, total = 0, sum(log.size for log in logs)
        on_progress(done, total)
        work = [run for log in logs for run in log.runs(processes)]
        with recomputed(url, work, processes) as results:
            while logs:
                log, since, end = logs.popleft(), 0, 0
                while end < log.size:
                    segment, streams = next(results)
                    end = segment.end
                    log.add(segment)
                    if streams:
                        log.follow(streams, since, end, connection)
                        since = end
                    done += end - segment.start
                    on_progress(done, total)
                yield log.verified()
