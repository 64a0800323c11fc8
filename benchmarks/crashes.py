"""``python -m benchmarks.crashes``: kill the program and its database under load, and inspect the log.

Every command has a name of its own, which the log keeps as the note of its event and, if the command is to
be sent again, as its idempotency key. Clients share no orders, so each knows what its commands must come to.
"""

import argparse
import asyncio
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import httpx2 as httpx
import psycopg
from rich.console import Console
from rich.table import Table

from benchmarks.access import headers, let_in
from infrastructure.database.embedded import EmbeddedServer

CLIENTS = 16
SHOPS = tuple(f"shop-{n}" for n in range(4))
BULK_ORDERS = 20
PATIENCE = 60.0
"""Seconds that anything may take before the run is given up."""


class Kill(NamedTuple):
    victim: Literal["shiplock serve", "PostgreSQL"]
    sign: signal.Signals

    def __str__(self) -> str:
        return f"{self.victim}, {self.sign.name}"


PROGRAM = Kill("shiplock serve", signal.SIGKILL)
DATABASE = Kill("PostgreSQL", signal.SIGKILL)
DATABASE_AT_ONCE = Kill("PostgreSQL", signal.SIGQUIT)
TURNS = (PROGRAM, DATABASE_AT_ONCE, PROGRAM, DATABASE)


# ---- what is sent, and what comes of it --------------------------------------------------------------


class Step(NamedTuple):
    """A command in the life of an order: the event it appends (none: nothing) and what it is answered."""

    action: str
    body: dict[str, Any]
    event: str | None
    status: int
    version: int


LINE = {"sku_id": "52000301", "goods_id": "520003", "name": "泰国金枕榴莲", "quantity": 1, "unit_price_fen": 12900}
PLACE = Step("place", {"lines": [LINE], "paid_fen": 12900}, "OrderPlaced", 201, 1)
FORM_GROUP = Step("form-group", {}, "GroupFormed", 200, 2)
PARCEL = {"carrier": "SF", "tracking_number": "SF1"}
LIFE = (
    PLACE,
    FORM_GROUP,
    Step("request-stockout", {"reason": "oversold"}, "StockoutRequested", 200, 3),
    Step("upload-tracking", PARCEL, None, 409, 3),
    Step("complete-review", {"outcome": "rejected"}, "ReviewCompleted", 200, 4),
    Step("upload-tracking", PARCEL, "TrackingUploaded", 200, 5),
    Step("upload-tracking", PARCEL, None, 200, 5),
)
LIFE_IN_BULK = (PLACE, FORM_GROUP, Step("upload-tracking", PARCEL, "TrackingUploaded", 200, 3))


class Answer(NamedTuple):
    status: int
    version: int | None


@dataclass(slots=True)
class Sent:
    """A command that was sent. Without an answer nobody knows whether it was executed."""

    name: str
    order_sn: str
    step: Step
    answer: Answer | None = None

    @property
    def body(self) -> dict[str, Any]:
        return self.step.body | {"note": self.name}


@dataclass(slots=True)
class Request:
    """One command, or several in bulk. ``position`` is the position in the shop's log that the response names."""

    shop_id: str
    commands: list[Sent]
    keyed: bool
    bulk: bool = False
    position: int | None = None

    @property
    def is_answered(self) -> bool:
        return all(sent.answer for sent in self.commands)

    async def send(self, http: httpx.AsyncClient) -> None:
        """Send it, and write down the answers. While the database is away, a refusal is not an answer."""
        try:
            response = await (self._send_bulk(http) if self.bulk else self._send_single(http))
        except httpx.HTTPError:
            return
        body = response.json()
        if not self.bulk:
            (sent,) = self.commands
            tag = response.headers.get("etag")
            _write_down(sent, response.status_code, int(tag.strip('"')) if tag else None, body.get("code"))
            position = response.headers.get("shiplock-position")
            self.position = int(position) if position else None
        elif response.status_code == 200:
            for sent, outcome in zip(self.commands, body["outcomes"], strict=True):
                code = outcome.get("problem", {}).get("code")
                _write_down(sent, outcome["status"], outcome.get("version"), code)
            self.position = body["position"]

    async def _send_single(self, http: httpx.AsyncClient) -> httpx.Response:
        (sent,) = self.commands
        path = f"/v1/shops/{self.shop_id}/orders/{sent.order_sn}/{sent.step.action}"
        return await http.post(path, json=sent.body, headers={"Idempotency-Key": sent.name} if self.keyed else {})

    async def _send_bulk(self, http: httpx.AsyncClient) -> httpx.Response:
        commands = [
            {"order_sn": sent.order_sn, "action": sent.step.action}
            | ({"idempotency_key": sent.name} if self.keyed else {})
            | sent.body
            for sent in self.commands
        ]
        return await http.post(f"/v1/shops/{self.shop_id}/commands", json={"commands": commands})


def _write_down(sent: Sent, status: int, version: int | None, code: str | None) -> None:
    if status != 503 and code != "still_running":
        sent.answer = Answer(status, version)


class Load:
    """Clients that send commands until ``stopping`` is set, and write down in ``requests`` what they sent."""

    def __init__(self, http: httpx.AsyncClient, tag: str) -> None:
        self.requests: list[Request] = []
        self.stopping = False
        self.disturbed = asyncio.Event()
        self._http = http
        self._tag = tag
        self._acknowledged = 0
        self._goal = 0
        self._reached = asyncio.Event()

    async def run(self) -> None:
        await asyncio.gather(*(self._single(k) for k in range(CLIENTS)), self._in_bulk())

    async def reach(self, more: int) -> None:
        """Wait until so many more requests have been answered."""
        self._goal = self._acknowledged + more
        self._reached.clear()
        await self._reached.wait()

    async def _single(self, k: int) -> None:
        """One order after another; every other one with idempotency keys, and not all clients' at once."""
        for n in itertools.count():
            order_sn = f"{self._tag}-{k}-{n}"
            for number, step in enumerate(LIFE):
                if self.stopping:
                    return
                sent = Sent(f"{order_sn}-{number}", order_sn, step)
                if not await self._send(Request(SHOPS[k % len(SHOPS)], [sent], keyed=(n + k) % 2 == 0)):
                    break

    async def _in_bulk(self) -> None:
        for n in itertools.count():
            if self.stopping:
                return
            commands = [
                Sent(f"{self._tag}-bulk-{n}-{i}-{number}", f"{self._tag}-bulk-{n}-{i}", step)
                for number, step in enumerate(LIFE_IN_BULK)
                for i in range(BULK_ORDERS)
            ]
            await self._send(Request(SHOPS[n % len(SHOPS)], commands, keyed=n % 2 == 0, bulk=True))

    async def _send(self, request: Request) -> bool:
        self.requests.append(request)
        await request.send(self._http)
        if not request.is_answered:
            self.disturbed.set()
            return False
        self._acknowledged += 1
        if self._acknowledged >= self._goal:
            self._reached.set()
        return True


# ---- the program ------------------------------------------------------------------------------------


class Program:
    """``shiplock serve`` on the embedded database of a folder, as a user would start it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = EmbeddedServer(folder).url
        self._port = _free_port()
        self._key: str | None = None
        self.address = f"http://127.0.0.1:{self._port}"
        self._process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        with (self.folder / "serve.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "api.cli", "serve", "--port", str(self._port)],
                env=os.environ | {"SHIPLOCK_DATA_DIR": str(self.folder)},
                stderr=log,
            )

    def kill(self, kill: Kill) -> None:
        """Kill at once. The database is started again by the program, the program by ``start_again``."""
        if kill.victim == "PostgreSQL":
            first_line = (self.folder / "postgresql" / "postmaster.pid").read_text().splitlines()[0]
            os.kill(int(first_line), kill.sign)
        else:
            self._process.send_signal(kill.sign)

    def start_again(self) -> None:
        self._process.wait()
        self._process = self._start()

    async def ready(self, http: httpx.AsyncClient) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            if self._process.poll() is not None or time.monotonic() > deadline:
                log = self.folder / "serve.log"
                raise RuntimeError(f"shiplock serve did not come up; its last words:\n{log.read_text()[-2000:]}")
            try:
                if (await http.get("/readyz")).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.05)

    def key(self) -> str:
        """The key of a client that may do everything; it is made when the program has started first."""
        if self._key is None:
            self._key = let_in(self.url, SHOPS)
        return self._key

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE)


@contextmanager
def serving(folder: Path) -> Iterator[Program]:
    program = Program(folder)
    try:
        yield program
    finally:
        program.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# ---- rounds -----------------------------------------------------------------------------------------

FINDINGS = ("lost", "doubled", "gaps", "half_there", "wrong_answers")
"""Something that must not happen: see ``inspect``."""


class Finding(NamedTuple):
    kind: str
    detail: str


@dataclass(slots=True)
class Round:
    """The outcome of a round. ``taken`` counts commands that are in the log though their client got no answer."""

    killed: str
    acknowledged: int
    unanswered: int
    taken: int
    retried: int
    findings: list[Finding] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        kinds = Counter(finding.kind for finding in self.findings)
        counts = {
            "acknowledged": self.acknowledged,
            "unanswered": self.unanswered,
            "taken": self.taken,
            "retried": self.retried,
        }
        return {"killed": self.killed} | counts | {kind: kinds[kind] for kind in FINDINGS}


def run(folder: Path, kills: Sequence[Kill], seconds: float) -> Iterator[Round]:
    """Kill once a round, after so many seconds of load; all rounds go to the same log."""
    requests: list[Request] = []
    known: set[Finding] = set()
    with serving(folder) as program:
        for number, kill in enumerate(kills, start=1):
            result, sent = asyncio.run(_kill_under_load(program, kill, seconds, f"r{number}"))
            requests += sent
            result.findings = sorted(inspect(program.url, requests) - known)
            known.update(result.findings)
            yield result


async def _kill_under_load(program: Program, kill: Kill, seconds: float, tag: str) -> tuple[Round, list[Request]]:
    async with httpx.AsyncClient(base_url=program.address, timeout=20) as http:
        await program.ready(http)
        http.headers |= headers(program.key())
        load = Load(http, tag)
        async with asyncio.TaskGroup() as clients, asyncio.timeout(seconds + PATIENCE):
            clients.create_task(load.run())
            await load.reach(101)  # on a busy machine the seconds alone may be over before much is answered
            await asyncio.sleep(seconds * random.uniform(0.9, 1.1))  # at any point of a batch
            load.disturbed.clear()
            program.kill(kill)
            if kill.victim == "PostgreSQL":
                await load.disturbed.wait()
                await load.reach(100)
            load.stopping = True
        commands = [sent for request in load.requests for sent in request.commands]
        unanswered = [sent for sent in commands if not sent.answer]
        if kill.victim == "shiplock serve":
            program.start_again()
        await program.ready(http)
        taken = _count(program.url, unanswered)
        again = [request for request in load.requests if request.keyed and not request.is_answered]
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(_until_answered(http, request) for request in again))
        retried = sum(1 for sent in unanswered if sent.answer)
    result = Round(str(kill), len(commands) - len(unanswered), len(unanswered), taken, retried)
    return result, load.requests


async def _until_answered(http: httpx.AsyncClient, request: Request) -> None:
    """Send it again with the same key after a pause, as the documentation tells clients to do."""
    await request.send(http)
    while not request.is_answered:
        await asyncio.sleep(0.2)
        await request.send(http)


# ---- what is in the database ------------------------------------------------------------------------

_EVENTS = """
SELECT shop_id, position, split_part(stream, ':', 2), version, type,
       convert_from(metadata, 'UTF8')::jsonb ->> 'note'
FROM event WHERE shop_id <> '_installation'
"""

_COUNT = "SELECT count(*) FROM event WHERE convert_from(metadata, 'UTF8')::jsonb ->> 'note' = ANY(%s)"

_RECEIPTS = "SELECT substr(key, strpos(key, '/') + 1), position FROM receipt"

# Positions and versions are unique by the tables' own constraints.
_GAPS = """
SELECT shop_id FROM (SELECT shop_id, position AS head FROM shop_log) s
FULL JOIN (SELECT shop_id, min(position), max(position), count(*) FROM event GROUP BY shop_id) e USING (shop_id)
WHERE (coalesce(min, 1), coalesce(max, 0), coalesce(count, 0)) IS DISTINCT FROM (1::bigint, head, head)
UNION ALL
SELECT shop_id || ' ' || stream FROM event
GROUP BY shop_id, stream HAVING min(version) <> 1 OR max(version) <> count(*)
"""


class LogEvent(NamedTuple):
    """An event as the log has it; ``name`` is that of its command."""

    shop_id: str
    position: int
    order_sn: str
    version: int
    type: str
    name: str


def _count(url: str, commands: Sequence[Sent]) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(_COUNT, ([sent.name for sent in commands],)).fetchone()
    return row[0] if row else 0


def inspect(url: str, requests: Sequence[Request]) -> set[Finding]:
    """Everything that is wrong in the log, its receipts and the answers.

    - lost: an acknowledged command without its event, of its type, at its version and position.
    - doubled: a second event of a command, or one that no command accounts for.
    - gaps: a shop whose positions, or an order whose versions, are not 1, 2, 3 ... to the head.
    - half_there: an event with an idempotency key without its receipt, or the other way round.
    - wrong_answers: an answer that such an order can't get.
    """
    with psycopg.connect(url) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        events = [LogEvent(*row) for row in connection.execute(_EVENTS)]
        receipts: dict[str, int | None] = dict(connection.execute(_RECEIPTS).fetchall())
        findings = {Finding("gaps", where) for (where,) in connection.execute(_GAPS)}
    appended: dict[str, list[LogEvent]] = {}
    for event in events:
        appended.setdefault(event.name, []).append(event)
    at = {(event.shop_id, event.order_sn, event.version): event for event in events}
    for request in requests:
        appended_events = []
        for sent in request.commands:
            mine = appended.pop(sent.name, [])
            findings.update(_misfits(request, sent, mine))
            if request.keyed:
                findings.update(_torn(sent, mine, receipts))
            if sent.answer == Answer(sent.step.status, sent.step.version) and sent.step.status < 400:
                appended_events.append(at.get((request.shop_id, sent.order_sn, sent.step.version)))
        if appended_events and request.is_answered:
            last = max((event.position for event in appended_events if event), default=0)
            if request.position != last:
                name = request.commands[0].name
                findings.add(Finding("lost", f"{name}: answered position {request.position}, stored at {last}"))
    for name, strangers in appended.items():
        findings.add(Finding("doubled", f"{name}: {len(strangers)} events and no command"))
    for key in receipts:
        findings.add(Finding("half_there", f"{key}: a receipt and no command"))
    return findings


def _misfits(request: Request, sent: Sent, mine: Sequence[LogEvent]) -> Iterator[Finding]:
    """The findings about a command's own events, given its answer."""
    step = sent.step
    if len(mine) > 1 or (mine and step.event is None):
        yield Finding("doubled", f"{sent.name}: {[(event.type, event.version) for event in mine]}")
    expected = (request.shop_id, sent.order_sn, step.version, step.event)
    own_events = [(event.shop_id, event.order_sn, event.version, event.type) for event in mine]
    if sent.answer is None:
        if own_events and expected not in own_events:
            yield Finding("doubled", f"{sent.name}: unanswered, and {own_events} is not what the command does")
    elif sent.answer != (step.status, step.version):
        yield Finding("wrong_answers", f"{sent.name}: {sent.answer}")
    elif step.event is not None and expected not in own_events:
        yield Finding("lost", f"{sent.name}: {sent.answer}, stored {own_events}")


def _torn(sent: Sent, mine: Sequence[LogEvent], receipts: dict[str, int | None]) -> Iterator[Finding]:
    """Event and receipt are committed together: either both exist or neither."""
    has_receipt = sent.name in receipts
    position = receipts.pop(sent.name, None)
    if sent.answer and not has_receipt:
        yield Finding("half_there", f"{sent.name}: answered {sent.answer} without a receipt")
    if sent.step.event and bool(mine) != has_receipt:
        yield Finding("half_there", f"{sent.name}: {len(mine)} events, receipt: {has_receipt}")
    if mine and has_receipt and position != mine[0].position:
        yield Finding("half_there", f"{sent.name}: at {mine[0].position}, its receipt says {position}")


# ---- the report -------------------------------------------------------------------------------------


def _total(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    counts = {name: sum(row[name] for row in rows) for name in rows[0] if name != "killed"}
    return {"killed": f"{len(rows)} times"} | counts


def _table(rows: Sequence[dict[str, Any]], total: dict[str, Any]) -> Table:
    table = Table(title="Killed under load, started again, inspected")
    table.add_column("round", justify="right")
    for name in total:
        table.add_column(name.replace("_", " "), justify="left" if name == "killed" else "right")
    for number, row in enumerate(rows, start=1):
        table.add_row(str(number), *(str(value) for value in row.values()))
    table.add_section()
    table.add_row("total", *(f"{value:,}" if isinstance(value, int) else value for value in total.values()))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crashes", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="half kill the program, half its database")
    parser.add_argument("--seconds", type=float, default=2.0, help="of load before each kill")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    arguments = parser.parse_args()
    kills = list(itertools.islice(itertools.cycle(TURNS), max(arguments.rounds, 1)))
    progress = Console(stderr=True)
    rounds: list[Round] = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            for result in run(Path(folder), kills, arguments.seconds):
                rounds.append(result)
                progress.print(f"round {len(rounds)} of {len(kills)}: {result.killed}")
        finally:
            if EmbeddedServer(Path(folder)).is_alive():
                EmbeddedServer.start(Path(folder)).stop()
    rows = [result.row() for result in rounds]
    findings = [finding for result in rounds for finding in result.findings]
    if arguments.json:
        print(json.dumps({"rounds": rows, "total": _total(rows), "findings": [f._asdict() for f in findings]}))
    else:
        Console(width=150).print(_table(rows, _total(rows)))
    for finding in findings[:20]:
        progress.print(f"{finding.kind}: {finding.detail}")
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
