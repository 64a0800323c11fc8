"""Commands from several processes at once: there is an order of them, true to time, in which one alone would
have come to the same.

Every call writes down when it began and ended (by one counter) and what it came to. Outcomes name the order's
version, which fixes the place of each: what was appended stands where its version says, and what appended
nothing was judged by the history up to the version that it names. Orders are independent, so each is checked by
itself; the positions are those of the shop.
"""

import asyncio
import dataclasses
import itertools
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import uuid4

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from domain.history import Metadata, Recorded
from domain.kernel import Command, Refusal
from domain.order import commands as c
from domain.order.decisions.action import Decision
from domain.order.decisions.table import decide
from domain.order.events import OrderEvent
from domain.order.fold import fold
from domain.order.state import Order
from infrastructure.commands.committer import CommandPath
from infrastructure.commands.intents import (
    CommandIntent,
    Contended,
    IdempotencyKey,
    OrderCommand,
    OrderOutcome,
    Outcome,
    StillRunning,
)
from infrastructure.database.pool import Pool
from infrastructure.log.log import ORDER, StoredEvent, new_event, read_feed, recorded
from infrastructure.runtime.rule_sets import shipped_rules
from tests.orders import LINE, MONDAY_9, SHOP, on_database, order_command, order_sn

BOOK = shipped_rules()
PROCESSES = 3
PLACE = c.Place(lines=(LINE,), paid_fen=12900)
FORM_GROUP = c.FormGroup()
SHIP = c.UploadTracking(carrier="SF", tracking_number="SF1")
HOLD = c.PlaceHold(hold="manual", reason="address")
RELEASE = c.ReleaseHold(hold="manual", reason="address")
CONTACT = c.ContactBuyer(channel="chat", message="hello")

# ---- histories --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Call:
    """A command and what it came to; ``began`` and ``ended`` are ticks of one counter."""

    intent: OrderCommand
    began: int
    ended: int
    outcome: OrderOutcome | Exception

    def before(self, other: "Call") -> bool:
        return self.ended < other.began

    def __str__(self) -> str:
        name = f"{self.intent.command} to {self.intent.order_sn}, if at {self.intent.if_match}"
        if not isinstance(self.outcome, OrderOutcome):
            return f"{name}, {self.began} to {self.ended}: {self.outcome!r}"
        came_to = self.outcome.refusal or f"{self.outcome.events} events"
        return f"{name}, {self.began} to {self.ended}: {came_to}, version {self.outcome.order.version}"


class History(NamedTuple):
    """The calls with their outcomes, and the events of the log: by shop, in the log's order."""

    calls: Sequence[Call]
    events: dict[str, list[StoredEvent]]


Doctor = Callable[[History], History]


class NotLinearizable(AssertionError):
    """No sequence of the calls explains what they came to."""


def response(intent: CommandIntent, outcome: Outcome) -> bytes:
    """The response that a receipt keeps: enough to distinguish outcomes."""
    code = outcome.refusal.code if outcome.refusal else None
    return msgspec.json.encode((intent.stream, outcome.state.version, outcome.events, code))


class Recorder:
    """Submits commands and writes down their outcomes."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._ticks = itertools.count()

    async def submit(self, path: CommandPath, intent: OrderCommand) -> OrderOutcome | Exception:
        began = next(self._ticks)
        outcome: OrderOutcome | Exception
        try:
            outcome = await path.submit_one(intent)
        except (Contended, StillRunning) as error:
            outcome = error
        self.calls.append(Call(intent, began, next(self._ticks), outcome))
        return outcome

    async def history(self, pool: Pool) -> History:
        events = {}
        async with pool.connection() as connection:
            for shop in sorted({call.intent.shop_id for call in self.calls}):
                events[shop], _, more = await read_feed(connection, shop, 0, 10_000)
                assert not more
        return History(self.calls, events)


# ---- the checker ------------------------------------------------------------------------------------


def check(history: History) -> None:
    """Raises ``NotLinearizable``."""
    orders: dict[tuple[str, str], list[Call]] = {}
    for call in history.calls:
        orders.setdefault((call.intent.shop_id, call.intent.order_sn), []).append(call)
    for shop, events in history.events.items():
        _demand([event.position for event in events] == list(range(1, len(events) + 1)), shop, "positions")
        times = [event.recorded_at for event in events]
        _demand(times == sorted(times), shop, "recorded_at goes back")
        _demand({event.stream for event in events} <= {ORDER + order for _, order in orders}, shop, "strangers")
    for (shop, order), calls in orders.items():
        events = [event for event in history.events[shop] if event.stream == ORDER + order]
        _check_order(order, [call for call in calls if not _is_replay(call)], events)
    _check_keys(history.calls)
    _check_time(history.calls)


def _check_order(order: str, calls: Sequence[Call], events: Sequence[StoredEvent]) -> None:
    """Each outcome is what ``decide`` makes of the history up to its version, and the events are all explained."""
    _demand([event.version for event in events] == list(range(1, len(events) + 1)), order, "versions")
    past = [recorded(event) for event in events]
    explained = 0
    for call in sorted(calls, key=_rank):
        outcome = call.outcome
        if not isinstance(outcome, OrderOutcome):
            continue
        version = outcome.order.version
        _demand(version <= len(past), call, "a version that the log does not have")
        before = past[: version - outcome.events]
        decision, occurred_at = _judge(call.intent, order, before, outcome.at)
        if isinstance(decision, Refusal):
            _demand(outcome.refusal == decision and outcome.events == 0, call, decision)
        else:
            _demand(outcome.refusal is None and outcome.events == len(decision), call, decision)
            appended = events[len(before) : version]
            note = call.intent.command.note if isinstance(call.intent.command.note, str) else None
            metadata = Metadata(actor=call.intent.actor, note=note)
            expected = [new_event(event, occurred_at, metadata)[1:] for event in decision]
            _demand([_content(event) for event in appended] == expected, call, decision)
            if appended:
                _demand(len(before) == explained, call, "appended over another's events, or after a stranger's")
                explained = version
        folded = fold(order, past[:version])
        _demand(_unplaced(outcome.order) == _unplaced(folded), call, "another order than that of its version")
        _demand(outcome.position == (past[version - 1].position if version else 0), call, "position")
    _demand(explained == len(past), order, f"no outcome accounts for the events after version {explained}")


def _unplaced(order: Order) -> Order:
    """Without positions: what was decided before its events were in the log has none."""
    return replace(order, position=0, reviews=tuple(replace(review, position=0) for review in order.reviews))


def _judge(
    intent: OrderCommand, order_sn: str, history: Sequence[Recorded[OrderEvent]], now: datetime
) -> tuple[Decision, datetime]:
    order = fold(order_sn, history)
    is_there = order.version > 0 or isinstance(intent.command, c.Place)
    if is_there and intent.if_match is not None and intent.if_match != order.version:
        return Refusal("stale_version", f"The order is at version {order.version} by now."), now
    return decide(history, order, intent.command, BOOK, now)


def _content(event: StoredEvent) -> tuple[str, int, datetime, bytes, bytes]:
    return event.type, event.schema_version, event.occurred_at, event.payload, event.metadata


def _check_keys(calls: Sequence[Call]) -> None:
    """Of the calls with one key one was judged; the others got its response, and not before it began."""
    by_key: dict[tuple[str, str], list[Call]] = {}
    for call in calls:
        if call.intent.idempotency and isinstance(call.outcome, OrderOutcome):
            by_key.setdefault((call.intent.shop_id, call.intent.idempotency.key), []).append(call)
    for key, same in by_key.items():
        judged = [call for call in same if not _is_replay(call)]
        _demand(len(judged) == 1, key, f"judged {len(judged)} times")
        (first,) = judged
        assert isinstance(first.outcome, OrderOutcome)
        for call in same:
            assert isinstance(call.outcome, OrderOutcome)
            answer, position = response(first.intent, first.outcome), first.outcome.position
            _demand((call.outcome.response, call.outcome.position) == (answer, position), call, "another answer")
            _demand(not call.before(first), call, "answered before it was judged")


def _check_time(calls: Sequence[Call]) -> None:
    """Who ended before another began comes first: among an order's versions, and among a shop's positions."""
    judged = [call for call in calls if isinstance(call.outcome, OrderOutcome) and not _is_replay(call)]
    for earlier, later in itertools.permutations(judged, 2):
        if earlier.intent.shop_id != later.intent.shop_id or not earlier.before(later):
            continue
        if earlier.intent.order_sn == later.intent.order_sn:
            _demand(_rank(earlier) <= _rank(later), later, f"came before {earlier}")
        if _events(earlier) and _events(later):
            _demand(_position(earlier) < _position(later), later, f"stands before {earlier}")


def _rank(call: Call) -> tuple[int, int]:
    """The place in the sequence: by version, and what appended nothing after what made its version."""
    if not isinstance(call.outcome, OrderOutcome):
        return 0, 0
    return call.outcome.order.version, 0 if call.outcome.events else 1


def _is_replay(call: Call) -> bool:
    return isinstance(call.outcome, OrderOutcome) and call.outcome.replayed


def _events(call: Call) -> int:
    return call.outcome.events if isinstance(call.outcome, OrderOutcome) else 0


def _position(call: Call) -> int:
    return call.outcome.position if isinstance(call.outcome, OrderOutcome) else 0


def _demand(holds: bool, where: object, what: object) -> None:
    if not holds:
        raise NotLinearizable(f"{what}\n  at {where}")


# ---- any mix, from several processes ------------------------------------------------------------------


class Drawn(NamedTuple):
    """A command to one of three orders, two of which are of one shop.

    ``careful`` sends the version that the client saw last along. ``twice`` sends the command to another process
    as well, at the same time and under the same idempotency key.
    """

    order: int
    command: Command
    process: int
    careful: bool
    twice: bool


COMMANDS: tuple[Command, ...] = (
    PLACE,
    FORM_GROUP,
    SHIP,
    replace(SHIP, lines=(c.PackedLine(LINE.sku_id, 1),)),
    replace(SHIP, tracking_number="SF2", occurred_at=MONDAY_9 + timedelta(seconds=20)),
    c.RequestStockout(reason="oversold"),
    c.CompleteReview(outcome="rejected"),
    HOLD,
    replace(HOLD, occurred_at=MONDAY_9 + timedelta(seconds=10), note="recorded late"),
    RELEASE,
    CONTACT,
    c.Refund(initiated_by="buyer", reason="late", amount_fen=1_000),
)
CLOSING: tuple[Command, ...] = (
    c.CompleteReview(outcome="approved"),
    c.Refund(initiated_by="merchant", reason="out_of_stock"),
    c.Cancel(reason="changed_mind"),
)
"""They end an order, so they are drawn less often: most of a mix is judged while more can happen."""

drawn = st.builds(
    Drawn,
    order=st.sampled_from([0, 0, 1, 2]),
    command=st.sampled_from(COMMANDS * 3 + CLOSING),
    process=st.integers(0, PROCESSES - 1),
    careful=st.booleans(),
    twice=st.booleans(),
)


# Interleavings do not repeat, so there is nothing to shrink.
@settings(
    max_examples=15,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(clients=st.lists(st.lists(drawn, min_size=6, max_size=12), min_size=4, max_size=8))
def test_commands_of_several_processes_are_linearizable(database_url: str, clients: list[list[Drawn]]) -> None:
    """Each process has a clock of its own, off by its own amount; every look at one moves all of them on."""
    looks = itertools.count()
    tag = uuid4().hex[:8]
    orders = [(f"{tag}-a", order_sn(0)), (f"{tag}-a", order_sn(1)), (f"{tag}-b", order_sn(0))]
    recorder = Recorder()

    def clock(process: int) -> Callable[[], datetime]:
        off = timedelta(minutes=(0, -3, 4)[process])
        return lambda: MONDAY_9 + off + timedelta(seconds=next(looks))

    async def work(pool: Pool, _: CommandPath) -> History:
        async with AsyncExitStack() as stack:
            paths = [
                await stack.enter_async_context(CommandPath(pool, BOOK, clock(process), response))
                for process in range(PROCESSES)
            ]
            for (shop, order), command in itertools.product(orders[:2], (PLACE, FORM_GROUP)):
                await recorder.submit(paths[0], order_command(order, command, shop))
            await asyncio.gather(*(client(paths, n, steps) for n, steps in enumerate(clients)))
        return await recorder.history(pool)

    async def client(paths: Sequence[CommandPath], number: int, steps: Sequence[Drawn]) -> None:
        known_versions = dict.fromkeys(range(len(orders)), 2)
        for n, step in enumerate(steps):
            shop, order = orders[step.order]
            intent = replace(
                order_command(order, step.command, shop),
                if_match=known_versions[step.order] if step.careful else None,
                idempotency=IdempotencyKey(f"{number}-{n}", b"") if step.twice else None,
            )
            processes = [step.process, (step.process + 1) % PROCESSES] if step.twice else [step.process]
            for outcome in await asyncio.gather(*(recorder.submit(paths[p], intent) for p in processes)):
                if isinstance(outcome, OrderOutcome) and not outcome.replayed:
                    known_versions[step.order] = outcome.order.version

    check(on_database(database_url, work))


# ---- the checker can fail -----------------------------------------------------------------------------


@pytest.fixture
def history(database_url: str) -> History:
    """One command after another, as ``doctored`` numbers them."""
    recorder = Recorder()
    keyed = replace(order_command(order_sn(0), CONTACT), idempotency=IdempotencyKey("k", b""))

    async def work(pool: Pool, _: CommandPath) -> History:
        looks = itertools.count()
        async with CommandPath(pool, BOOK, lambda: MONDAY_9 + timedelta(seconds=next(looks)), response) as path:
            for command in (PLACE, FORM_GROUP, HOLD, SHIP, RELEASE, SHIP, SHIP):
                await recorder.submit(path, order_command(order_sn(0), command))
            await recorder.submit(path, keyed)
            await recorder.submit(path, keyed)
        return await recorder.history(pool)

    return on_database(database_url, work)


PLACED, FORMED, HELD, REFUSED, RELEASED, SHIPPED, NOTHING, CONTACTED, REPLAYED = range(9)


def test_the_history_that_is_doctored_below_is_linearizable(history: History) -> None:
    check(history)
    outcomes = [call.outcome for call in history.calls]
    assert all(isinstance(outcome, OrderOutcome) for outcome in outcomes)
    assert [o.order.version for o in outcomes if isinstance(o, OrderOutcome)] == [1, 2, 3, 3, 4, 5, 5, 6, 0]
    assert [o.events for o in outcomes if isinstance(o, OrderOutcome)] == [1, 1, 1, 0, 1, 1, 0, 1, 0]


def swapped_outcomes(one: int, other: int) -> Doctor:
    def doctor(history: History) -> History:
        calls = list(history.calls)
        calls[one] = dataclasses.replace(calls[one], outcome=history.calls[other].outcome)
        calls[other] = dataclasses.replace(calls[other], outcome=history.calls[one].outcome)
        return History(calls, history.events)

    return doctor


def swapped_times(one: int, other: int) -> Doctor:
    def doctor(history: History) -> History:
        calls = list(history.calls)
        first, second = calls[one], calls[other]
        calls[one] = dataclasses.replace(first, began=second.began, ended=second.ended)
        calls[other] = dataclasses.replace(second, began=first.began, ended=first.ended)
        return History(calls, history.events)

    return doctor


def changed_outcome(number: int, change: Callable[[OrderOutcome], OrderOutcome]) -> Doctor:
    def doctor(history: History) -> History:
        calls = list(history.calls)
        outcome = calls[number].outcome
        assert isinstance(outcome, OrderOutcome)
        calls[number] = dataclasses.replace(calls[number], outcome=change(outcome))
        return History(calls, history.events)

    return doctor


def without_call(number: int) -> Doctor:
    return lambda history: History([*history.calls[:number], *history.calls[number + 1 :]], history.events)


def changed_log(change: Callable[[list[StoredEvent]], list[StoredEvent]]) -> Doctor:
    return lambda history: History(history.calls, {SHOP: change(history.events[SHOP])})


@pytest.mark.parametrize(
    "doctor",
    [
        pytest.param(swapped_outcomes(HELD, RELEASED), id="what two commands appended is swapped"),
        pytest.param(swapped_outcomes(REFUSED, NOTHING), id="a refusal and a no are swapped"),
        pytest.param(swapped_times(HELD, RELEASED), id="appended in another order than submitted"),
        pytest.param(swapped_times(REFUSED, RELEASED), id="refused by a state that was over"),
        pytest.param(swapped_times(SHIPPED, NOTHING), id="already so before it was done"),
        pytest.param(swapped_times(CONTACTED, REPLAYED), id="replayed before it was judged"),
        pytest.param(changed_outcome(REFUSED, lambda o: replace(o, refusal=None)), id="done, and nothing appended"),
        pytest.param(
            changed_outcome(REFUSED, lambda o: replace(o, refusal=Refusal("not_shippable", "no"))),
            id="refused for another reason",
        ),
        pytest.param(changed_outcome(SHIPPED, lambda o: replace(o, events=0)), id="an uncounted event"),
        pytest.param(changed_outcome(NOTHING, lambda o: replace(o, position=o.position - 1)), id="position"),
        pytest.param(
            changed_outcome(NOTHING, lambda o: replace(o, state=replace(o.order, parcels=()))), id="order"
        ),
        pytest.param(changed_outcome(REPLAYED, lambda o: replace(o, response=b"")), id="replayed differently"),
        pytest.param(changed_outcome(REPLAYED, lambda o: replace(o, replayed=False)), id="judged twice"),
        pytest.param(without_call(SHIPPED), id="an event in the middle that nobody sent"),
        pytest.param(without_call(CONTACTED), id="a last event that nobody sent"),
        pytest.param(changed_log(lambda log: log[:-1]), id="the last event is lost"),
        pytest.param(changed_log(lambda log: [*log[:2], *log[3:]]), id="an event in the middle is lost"),
        pytest.param(
            changed_log(lambda log: [*log[:-1], log[-1]._replace(payload=log[0].payload, type=log[0].type)]),
            id="another event is stored",
        ),
        pytest.param(
            changed_log(lambda log: [*log[:-1], log[-1]._replace(occurred_at=MONDAY_9)]),
            id="another time is stored",
        ),
        pytest.param(
            changed_log(lambda log: [*log[:-1], log[-1]._replace(position=log[-1].position + 1)]), id="gap"
        ),
    ],
)
def test_a_doctored_history_is_rejected(history: History, doctor: Doctor) -> None:
    with pytest.raises(NotLinearizable):
        check(doctor(history))
