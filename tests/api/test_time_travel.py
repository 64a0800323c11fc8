"""Queries at any moment over HTTP: each answer is a fold of exactly the events that count at that moment."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from itertools import count
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.calendar import BEIJING
from domain.history import Recorded
from domain.order.events import OrderEvent
from domain.order.fold import fold
from domain.order.view import OrderView, view
from domain.order.warnings import RelatedFacts, Use
from domain.sku import events as s
from domain.sku.state import Sku
from domain.sku.state import fold as fold_sku
from infrastructure.database.pool import WriteConnection
from infrastructure.log.log import Append, append, new_event
from infrastructure.runtime.rule_sets import shipped_rules
from tests.api.conftest import Api
from tests.domain.test_laws import Look, Step, lived, observed_lives
from tests.domain.vocabulary import MONDAY_8, hours

BOOK = shipped_rules()
SKU = "SKU-1"
_shops = count(1)


class StreamEvent(NamedTuple):
    """An event as it is appended: its stream, its content, and the times of the log."""

    stream: str
    event: Any
    version: int
    occurred_at: datetime
    recorded_at: datetime
    metadata: Any


class Times(NamedTuple):
    """The pair of times in a request: when things happened, and when they were recorded."""

    as_of: datetime | None
    known_at: datetime | None

    @property
    def at(self) -> datetime:
        at = self.as_of or self.known_at
        assert at is not None
        return at

    @property
    def parameters(self) -> dict[str, str]:
        return {name: at.isoformat() for name, at in self._asdict().items() if at is not None}

    def includes(self, event: StreamEvent) -> bool:
        """The definition that every answer is compared with."""
        happened = self.as_of is None or event.occurred_at <= self.as_of
        learned = self.known_at is None or event.recorded_at <= self.known_at
        return happened and learned


moments = st.sampled_from([MONDAY_8 + hours(h / 2) for h in range(-4, 500, 5)])
times = st.one_of(
    st.builds(Times, moments, st.none()),
    st.builds(Times, st.none(), moments),
    st.builds(Times, moments, moments),
)
delistings = st.lists(
    st.tuples(st.sampled_from([0, 3, 20, 47, 60, 130]), st.sampled_from([0, 1, 30]), st.booleans()), max_size=3
)


def history_of(lives: Sequence[list[Step | Look]], shelf: Iterable[tuple[int, int, bool]]) -> list[StreamEvent]:
    """The events of several orders and of a SKU, in the order in which one log records them, late ones too."""
    events = []
    for n, steps in enumerate(lives):
        for recorded in lived(steps, BOOK).history:
            stream = f"order:260302-{n:015d}"
            events.append(
                StreamEvent(
                    stream,
                    recorded.event,
                    recorded.version,
                    recorded.occurred_at,
                    recorded.recorded_at + timedelta(minutes=n),
                    recorded.metadata,
                )
            )
    on_shelf = sorted((MONDAY_8 + hours(at + late), MONDAY_8 + hours(at), off) for at, late, off in shelf)
    for version, (recorded_at, occurred_at, off) in enumerate(on_shelf, start=1):
        event = s.SkuDelisted("缺货") if off else s.SkuRelisted()
        events.append(StreamEvent(f"sku:{SKU}", event, version, occurred_at, recorded_at, _METADATA))
    return sorted(events, key=lambda each: (each.recorded_at, each.stream, each.version))


_METADATA = Recorded(s.SkuRelisted(), 1, 1, MONDAY_8, MONDAY_8).metadata


def append_all(url: str, shop: str, events: Sequence[StreamEvent]) -> None:
    async def write() -> None:
        async with await WriteConnection.connect(url, autocommit=True) as connection:
            for each in events:
                new = new_event(each.event, each.occurred_at, each.metadata)
                ((outcome,),) = (
                    await append(
                        connection, each.recorded_at, {shop: [Append(each.stream, each.version - 1, [new])]}
                    )
                ).values()
                assert outcome.accepted
                assert outcome.recorded_at == each.recorded_at

    asyncio.run(write())


def expected_orders(events: Sequence[StreamEvent], moment: Times) -> dict[str, OrderView]:
    """Every order at a moment, folded from exactly the events that count then: the plain definition."""
    orders: dict[str, list[Recorded[OrderEvent]]] = {}
    shelf: list[Any] = []
    for position, each in enumerate(events, start=1):
        if not moment.includes(each):
            continue
        recorded = Recorded(each.event, each.version, position, each.occurred_at, each.recorded_at, each.metadata)
        kind, _, name = each.stream.partition(":")
        (orders.setdefault(name, []) if kind == "order" else shelf).append(recorded)
    skus: Mapping[str, Sku] = {SKU: fold_sku(SKU, shelf)}
    folded = {name: fold(name, history) for name, history in sorted(orders.items())}
    uses = [
        Use(parcel.tracking_number, name, parcel.uploaded_at)
        for name, order in folded.items()
        for parcel in order.parcels
    ]
    return {name: view(order, BOOK, moment.at, RelatedFacts(skus, uses)) for name, order in folded.items()}


def as_json(value: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))


def items(api: Api, shop: str, path: str, moment: Times, **parameters: Any) -> list[Any]:
    """Every page of a list."""
    return api.every(path, shop=shop, **moment.parameters, **parameters)


def new_shop(api: Api, database_url: str, events: Sequence[StreamEvent]) -> str:
    shop = f"shop-{next(_shops)}"
    append_all(database_url, shop, events)
    api.enrol(shop)
    return shop


travel = settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)
several_lives = st.lists(observed_lives(), min_size=1, max_size=3)


@travel
@given(several_lives, delistings, times)
def test_an_order_and_every_list_are_a_fold_of_exactly_the_events_that_count(
    api: Api,
    database_url: str,
    lives: list[list[Step | Look]],
    shelf: list[tuple[int, int, bool]],
    moment: Times,
) -> None:
    events = history_of(lives, shelf)
    shop = new_shop(api, database_url, events)
    expected = expected_orders(events, moment)

    for number in {each.stream.removeprefix("order:") for each in events if each.stream.startswith("order:")}:
        answer = api.get(f"orders/{number}", shop=shop, **moment.parameters)
        if number in expected:
            assert answer.json() == as_json(expected[number])
        else:
            assert answer.json()["code"] == "unknown_order"

    orders = items(api, shop, "orders", moment, limit=2)
    assert [order["order_sn"] for order in orders] == list(expected)
    for order, whole in zip(orders, expected.values(), strict=True):
        full = as_json(whole)
        numbers = [parcel["tracking_number"] for parcel in full["parcels"] if parcel["replaced_at"] is None]
        assert order.pop("tracking_numbers") == numbers
        assert order.pop("anomalies") == len(full["anomalies"])
        assert order == {name: full[name] for name in order}

    for path, name in (("deadlines", "deadlines"), ("violations", "violations")):
        rows = items(api, shop, path, moment, limit=3)
        assert rows == [
            as_json(each) | {"order_sn": number}
            for number, whole in expected.items()
            for each in getattr(whole, name)
        ]
        for state in {each.get("state") for each in rows} - {None}:
            assert items(api, shop, path, moment, state=state) == [e for e in rows if e["state"] == state]
        for kind in {each["kind"] for each in rows}:
            assert items(api, shop, path, moment, kind=kind) == [e for e in rows if e["kind"] == kind]


def shown(api: Api, shop: str, number: str, **moment: Any) -> dict[str, Any]:
    """The order as it is shown, nothing where it isn't; without what a difference leaves out."""
    if moment.get("at_version") == 0:
        return {}
    answer = api.get(f"orders/{number}", shop=shop, **moment)
    order: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
    return {
        name: value for name, value in order.items() if name not in ("version", "position") and value is not None
    }


@settings(travel, max_examples=60)
@given(several_lives, delistings, st.tuples(moments, moments), st.one_of(st.none(), moments), st.data())
def test_a_diff_leads_from_the_order_at_one_moment_to_the_order_at_the_other(
    api: Api,
    database_url: str,
    lives: list[list[Step | Look]],
    shelf: list[tuple[int, int, bool]],
    times: tuple[datetime, datetime],
    held: datetime | None,
    data: st.DataObject,
) -> None:
    events = history_of(lives, shelf)
    shop = new_shop(api, database_url, events)
    last = {each.stream.removeprefix("order:"): each.version for each in events if each.stream.startswith("order:")}
    for number, version in last.items():
        kind, other = data.draw(
            st.sampled_from([("at_version", "as_of"), ("as_of", "known_at"), ("known_at", "as_of")])
        )
        versions = st.lists(st.integers(0, version), min_size=2, max_size=2).map(sorted)
        ends = data.draw(versions) if kind == "at_version" else [at.isoformat() for at in sorted(times)]
        both = {other: held.isoformat()} if held else {}
        by = {} if kind == "at_version" else {"by": kind}
        answer = api.get(f"orders/{number}/diff", shop=shop, from_=str(ends[0]), to=str(ends[1]), **by, **both)
        assert answer.status_code == 200, answer.text
        fields, until = (shown(api, shop, number, **{kind: end}, **both) for end in ends)
        for change in answer.json()["changes"]:
            assert fields.pop(change["field"], None) == change["before"]
            if change["after"] is not None:
                fields[change["field"]] = change["after"]
        assert fields == until


REPORTED = ("orders_formed", "shipped_on_time", "late", "stockouts", "false_shipments", "fraudulent_shipments")


@settings(travel, max_examples=8)
@given(st.lists(observed_lives(), min_size=2, max_size=6), times)
def test_the_report_counts_exactly_the_events_that_count(
    api: Api, database_url: str, lives: list[list[Step | Look]], moment: Times
) -> None:
    events = history_of(lives, [])
    shop = new_shop(api, database_url, events)
    days: dict[str, dict[str, int]] = {}
    for whole in expected_orders(events, moment).values():
        if whole.group_formed_at:
            day = days.setdefault(_day(whole.group_formed_at), dict.fromkeys((*REPORTED, "penalties_fen"), 0))
            (upload,) = [each for each in whole.deadlines if each.kind == "tracking_upload"]
            day["orders_formed"] += 1
            day["shipped_on_time"] += upload.state == "met"
            day["late"] += upload.state == "missed"
        for broken in whole.violations:
            day = days.setdefault(_day(broken.arose_at), dict.fromkeys((*REPORTED, "penalties_fen"), 0))
            if broken.appeal is None or broken.appeal.outcome != "overturned":
                day["stockouts"] += broken.kind == "stockout"
                day["false_shipments"] += broken.kind == "false_shipment"
                day["fraudulent_shipments"] += broken.kind == "fraudulent_shipment"
                day["penalties_fen"] += broken.penalty_fen or 0
    first, last = MONDAY_8.date() - timedelta(days=5), MONDAY_8.date() + timedelta(days=40)
    answer = api.get("reports/daily", shop=shop, **moment.parameters, **{"from": str(first), "to": str(last)})
    assert answer.status_code == 200, answer.text
    reported = {day["day"]: day for day in answer.json()["items"]}
    assert len(reported) == 46
    for name in (*REPORTED, "penalties_fen"):
        expected = {day: counts[name] for day, counts in days.items() if counts[name] and day in reported}
        assert {day: counts[name] for day, counts in reported.items() if counts[name]} == expected, name
    by_day = {name: day["penalties_fen"] for name, day in days.items() if name in reported}
    for by in ("day", "order", "sku"):
        sums = items(
            api, shop, "reports/penalties", moment, limit=2, by=by, **{"from": str(first), "to": str(last)}
        )
        assert [each["key"] for each in sums] == sorted({each["key"] for each in sums})
        assert sum(each["penalties_fen"] for each in sums) == sum(by_day.values())
        if by == "day":
            assert {each["key"]: each["penalties_fen"] for each in sums if each["penalties_fen"]} == {
                name: fen for name, fen in by_day.items() if fen
            }


def _day(moment: datetime) -> str:
    day: date = moment.astimezone(BEIJING).date()
    return str(day)


# ---- stories ------------------------------------------------------------------------------------------

ORDER = "260302-000000000000001"


@pytest.fixture
def late_upload(api: Api) -> Api:
    """A number uploaded 47 hours after the group formed, and recorded 50 hours after."""
    api.formed(ORDER, at=MONDAY_8)
    occurred = {"occurred_at": MONDAY_8 + hours(47)}
    api.done(ORDER, "upload-tracking", carrier="SF", tracking_number="SF1", **occurred)
    return api


def test_a_late_event_changes_what_had_happened_but_not_what_was_known(late_upload: Api) -> None:
    events = late_upload.get(f"orders/{ORDER}/events").json()["items"]
    before, after = events[-2]["recorded_at"], events[-1]["recorded_at"]
    happened = {"as_of": (MONDAY_8 + hours(50)).isoformat()}
    for path, empty in (("violations", True), ("deadlines", False)):
        listed = late_upload.get(path, **happened).json()["items"]
        assert (listed == []) is empty
    assert late_upload.order(ORDER, **happened)["status"] == "shipped"
    known = {**happened, "known_at": before}
    assert late_upload.order(ORDER, **known)["status"] == "awaiting_shipment"
    assert [v["kind"] for v in late_upload.get("violations", **known).json()["items"]] == ["late_shipment"]
    assert late_upload.order(ORDER, **happened, known_at=after)["violations"] == []


def test_a_diff_shows_what_was_recorded_between_two_moments(late_upload: Api) -> None:
    events = late_upload.get(f"orders/{ORDER}/events").json()["items"]
    between = {"from": events[-2]["recorded_at"], "to": events[-1]["recorded_at"], "by": "known_at"}
    learned = late_upload.get(f"orders/{ORDER}/diff", **between).json()
    assert learned["by"] == "known_at"
    status = next(change for change in learned["changes"] if change["field"] == "status")
    assert (status["before"], status["after"], status["event"]) == (
        "awaiting_shipment", "shipped", "TrackingUploaded",
    )  # fmt: skip
    assert status["recorded_at"] == events[-1]["recorded_at"]
    assert status["occurred_at"] < status["recorded_at"]
    nothing = late_upload.get(f"orders/{ORDER}/diff", **(between | {"by": "as_of"})).json()
    assert "status" not in {change["field"] for change in nothing["changes"]}


def test_a_diff_of_an_earlier_moment_shows_what_was_recorded_about_it_later(late_upload: Api) -> None:
    events = late_upload.get(f"orders/{ORDER}/events").json()["items"]
    between = {"from": events[-2]["recorded_at"], "to": events[-1]["recorded_at"], "by": "known_at"}
    path = f"orders/{ORDER}/diff"
    for hour, kinds, learned in ((46, [], False), (49, ["late_shipment"], True)):
        as_of = (MONDAY_8 + hours(hour)).isoformat()
        diff = late_upload.get(path, **between, as_of=as_of).json()
        assert {change["event"] for change in diff["changes"]} == ({"TrackingUploaded"} if learned else set())
        assert (
            late_upload.get(path, **{"from": "2", "to": "3", "as_of": as_of}).json()["changes"] == diff["changes"]
        )
        before = late_upload.order(ORDER, as_of=as_of, known_at=between["from"])
        assert [broken["kind"] for broken in before["violations"]] == kinds
    taken_back = next(change for change in diff["changes"] if change["field"] == "violations")
    assert ([broken["kind"] for broken in taken_back["before"]], taken_back["after"]) == (["late_shipment"], [])

    happened = {"from": (MONDAY_8 + hours(46)).isoformat(), "to": (MONDAY_8 + hours(49)).isoformat()}
    as_known = late_upload.get(path, **happened, known_at=between["from"]).json()["changes"]
    assert {change["event"] for change in as_known} == {None}, "time passed, and made it late"


def test_the_order_that_a_refusal_was_based_on_can_be_read_exactly(api: Api) -> None:
    api.formed(ORDER)
    api.done(ORDER, "request-stockout", reason="oversold")
    refused = api.do(ORDER, "upload-tracking", carrier="SF", tracking_number="SF1").json()
    assert refused["code"] == "order_locked"
    api.done(ORDER, "complete-review", outcome="rejected")
    api.done(ORDER, "upload-tracking", carrier="SF", tracking_number="SF1")
    then = api.order(ORDER, at_version=refused["version"], as_of=refused["judged_at"])
    assert then["status"] == refused["order_status"]
    assert then["shipment_lock"]["holds"] == refused["holds"]
    assert then["allowed_actions"] == refused["allowed_actions"]
    assert api.order(ORDER)["status"] == "shipped"


def test_orders_at_another_moment_are_sorted_by_number_and_can_be_filtered(late_upload: Api) -> None:
    moment = {"as_of": (MONDAY_8 + hours(40)).isoformat()}
    for filters, number in (
        ({"status": "awaiting_shipment"}, 1),
        ({"status": "shipped"}, 0),
        ({"due_before": (MONDAY_8 + hours(49)).isoformat()}, 1),
        ({"due_before": (MONDAY_8 + hours(48)).isoformat()}, 0),
        ({"sku_id": "52000301"}, 1),
        ({"sku_id": "none"}, 0),
        ({"locked": False}, 1),
        ({"violation": "late_shipment"}, 0),
    ):
        assert len(late_upload.get("orders", **moment, **filters).json()["items"]) == number, filters
    assert late_upload.get("orders", shop="100000002", **moment).json()["items"] == []


def test_a_report_of_now_equals_one_as_of_now(late_upload: Api) -> None:
    position = late_upload.done(ORDER, "record-pickup", occurred_at=MONDAY_8 + hours(80))["position"]
    period = {"from": "2026-03-01", "to": "2026-03-10"}
    now = late_upload.get("reports/daily", **period, min_position=position).json()
    again = late_upload.get("reports/daily", **period, as_of="2026-11-01T00:00:00Z").json()
    assert again == now
    assert sum(day["penalties_fen"] for day in now["items"]) > 0


def test_the_report_of_a_large_shop_at_another_moment_needs_the_command_line(
    late_upload: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infrastructure.queries.whole_shop.MOST_EVENTS", 1)
    refused = late_upload.get("reports/daily", as_of=MONDAY_8.isoformat())
    assert refused.status_code == 422
    assert "`shiplock report 100000001 --as-of`" in refused.json()["detail"]
    refused = late_upload.get("reports/penalties", as_of=MONDAY_8.isoformat())
    assert "`shiplock penalties 100000001 --as-of`" in refused.json()["detail"]
