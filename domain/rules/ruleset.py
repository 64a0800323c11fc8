"""Rule sets: the platform's rules as data with an effective date, never constants in code.

An order is judged by the set in force when its group formed. The shipped sets lie in ``sets/``;
each figure there names its source and how sure we are of it.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Annotated, Any, Literal, Protocol, Self, get_args

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from domain.calendar import BEIJING, ExpectedDecision, days, end_of_day, expected_decision, hours, later
from domain.kernel import GoodsType, ViolationKind
from domain.rules.reading import read

_FIRST = datetime(2015, 1, 1, tzinfo=BEIJING)
_LAST = datetime(2100, 1, 1, tzinfo=BEIJING)

_Text = Annotated[
    str,
    Meta(
        pattern=r"^[^\x00-\x1f\x7f]+$(?!\n)",
        max_length=500,
        description="text of 1 to 500 characters in one line",
    ),
]
_Confidence = Annotated[
    str,
    Meta(
        pattern=r"^(A|B|C|house)\b[^\x00-\x1f\x7f]*$(?!\n)",
        max_length=500,
        description="A, B, C or house, and for what, such as B for the cap",
    ),
]
_Name = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9][a-z0-9.-]{0,63}$(?!\n)",
        description="small letters, digits, dots and dashes, at most 64, such as pinduoduo-2023-01",
    ),
]
_Time = Annotated[
    datetime, Meta(tz=True, description="a date and time with offset, such as 2023-01-01T00:00:00+08:00")
]
_Positive = Annotated[int, Meta(gt=0, le=10_000, description="a whole number from 1 to 10000")]
_OrNone = Annotated[int, Meta(ge=0, le=10_000, description="a whole number from 0 to 10000")]
_Fen = Annotated[int, Meta(ge=0, le=10**12, description="a whole number of fen, 0 or more")]
_Percent = Annotated[int, Meta(gt=0, le=1_000, description="a whole number from 1 to 1000")]
_HourOfDay = Annotated[int, Meta(gt=0, lt=24, description="an hour of the day from 1 to 23")]


class JudgedOrder(Protocol):
    """The facts of an order that rules depend on. They know no others.

    A fact is ``None`` where it is not known. Times are aware, money is fen.
    """

    @property
    def placed_at(self) -> datetime | None: ...
    @property
    def group_formed_at(self) -> datetime | None: ...
    @property
    def goods_type(self) -> GoodsType: ...
    @property
    def region(self) -> str | None: ...
    @property
    def open_in_festival(self) -> bool | None: ...
    @property
    def paid_fen(self) -> int | None: ...


class _Sourced(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A rule with the place it was learned from and how sure that is."""

    source: _Text
    confidence: _Confidence


class GoodsHours(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Hours per goods type; a type that is absent has no such limit. Source: ship-by-presale, ship-by-virtual."""

    ordinary: _Positive | None = None
    presale: _Positive | None = None
    direct_mail: _Positive | None = None
    bonded: _Positive | None = None
    virtual: _Positive | None = None

    def get(self, goods_type: GoodsType) -> int | None:
        hours: int | None = getattr(self, goods_type)
        return hours

    def types(self) -> tuple[GoodsType, ...]:
        """The types that have hours."""
        return tuple([each for each in get_args(GoodsType) if self.get(each) is not None])


class Hours(_Sourced, frozen=True):
    hours: GoodsHours


class ShipBy(Hours, frozen=True):
    """Hours from the group's forming to the upload of a tracking number."""

    def __post_init__(self) -> None:
        self.ordinary_hours()

    def ordinary_hours(self) -> int:
        """The hours of ordinary goods. Raises ``ValueError`` without them, so no rule set is read that has none."""
        if self.hours.ordinary is None:
            raise ValueError("ordinary goods need hours; the platform's are 48")
        return self.hours.ordinary


class Days(_Sourced, frozen=True):
    """So many days: of 24 hours each, or to the end of the last of so many Beijing dates."""

    days: _Positive
    counted: Literal["as_hours", "as_dates"] = "as_hours"

    def after(self, moment: datetime) -> datetime:
        """When they are over, counted from a moment; with ``as_dates`` its own date does not count."""
        if self.counted == "as_hours":
            return later(moment, days(self.days))
        return end_of_day(moment, self.days)


class ContactRules(_Sourced, frozen=True):
    hours: _Positive


class ReviewRules(_Sourced, frozen=True, kw_only=True):
    """How long a stockout review takes and what it does to the clocks.

    With 0 working days it is decided at once. ``filing_day_ends_at`` is an hour of Beijing's day: from then on
    an application counts as filed on the day after; absent: at midnight. A ship-by that was paused goes on with
    what was left of it after a rejection, or ``starts_anew`` with all of it.
    """

    earliest_working_days: _OrNone
    latest_working_days: _OrNone
    counts_filing_day: bool
    filing_day_ends_at: _HourOfDay | None = None
    follows_make_up_days: bool
    pauses_ship_by: bool
    ship_by_after_rejection: Literal["runs_on", "starts_anew"] = "runs_on"
    defers_deemed_stockout: bool
    deemed_after_rejection: Literal["at_rejection", "at_due_time"]
    late_shipment_after_late_approval: Literal["stands", "lapses"]

    def __post_init__(self) -> None:
        if self.earliest_working_days > self.latest_working_days:
            raise ValueError("earliest_working_days is after latest_working_days; it must be at most that")
        if self.ship_by_after_rejection == "starts_anew" and not self.pauses_ship_by:
            raise ValueError("a ship-by that starts_anew after a rejection stands still before; say pauses_ship_by")

    def expected_decision(self, filed_at: datetime) -> ExpectedDecision:
        """When the platform should decide an application. Source: review-window, review-day-count."""
        return expected_decision(
            filed_at,
            self.earliest_working_days,
            self.latest_working_days,
            counts_filing_day=self.counts_filing_day,
            filing_day_ends_at=self.filing_day_ends_at,
            make_up_days=self.follows_make_up_days,
        )


class ApplicationRules(_Sourced, frozen=True, kw_only=True):
    """What the platform asks before it takes a stockout application. Source: application-conditions.

    ``conditions`` says what an application that misses one meets: it is filed with a warning, or
    refused. An absent ``daily_limit`` sets none; a day is Beijing's.
    """

    daily_limit: _Positive | None = None
    requires_delisting: bool
    takes_activity_orders: bool
    conditions: Literal["warn", "refuse"]


class Delisting(_Sourced, frozen=True):
    """Hours from filing a stockout application to the SKU's delisting; 0 is at once. Source: delist-at-once."""

    hours: _OrNone


class Tracking(_Sourced, frozen=True):
    """What makes a tracking number doubtful. Source: reused-tracking-number.

    A number used for another order within ``reuse_days`` before; and an order whose number was replaced
    ``frequent_replacements`` times or more.
    """

    reuse_days: _Positive
    frequent_replacements: _Positive


class PenaltyStep(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is charged from ``paid_from_fen`` on: a flat amount, or a percentage with an optional cap.

    A percentage above 100 is a multiple of what was paid. The amount is rounded down to whole
    ``round_to_fen``, by default to yuan, before it is capped.
    """

    paid_from_fen: _Fen
    flat_fen: _Fen | None = None
    percent: _Percent | None = None
    cap_fen: _Fen | None = None
    round_to_fen: _Positive = 100

    def __post_init__(self) -> None:
        if (self.flat_fen is None) == (self.percent is None):
            raise ValueError("a penalty step has either flat_fen or percent")
        if self.cap_fen is not None and self.percent is None:
            raise ValueError("cap_fen limits a percent; a flat_fen needs none")

    def amount_fen(self, paid_fen: int) -> int:
        if self.flat_fen is not None:
            return self.flat_fen
        amount = paid_fen * (self.percent or 0) // 100 // self.round_to_fen * self.round_to_fen
        return amount if self.cap_fen is None else min(amount, self.cap_fen)


class Penalty(_Sourced, frozen=True):
    """The price of a violation per order."""

    steps: Annotated[
        tuple[PenaltyStep, ...], Meta(min_length=1, max_length=100, description="a list of steps, at least one")
    ]

    def __post_init__(self) -> None:
        starts = [step.paid_from_fen for step in self.steps]
        if starts[0] != 0 or starts != sorted(set(starts)):
            raise ValueError("penalty steps begin at paid_from_fen 0 and rise")

    def amount_fen(self, paid_fen: int | None) -> int | None:
        """The penalty for an order paid with ``paid_fen``; ``None`` when that is unknown and matters."""
        if paid_fen is None:
            only = self.steps[0] if len(self.steps) == 1 else None
            return only.flat_fen if only else None
        reached = self.steps[0]
        for step in self.steps:
            if step.paid_from_fen <= paid_fen:
                reached = step
        return reached.amount_fen(paid_fen)


class Penalties(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The price of each violation."""

    late_shipment: Penalty
    stockout: Penalty
    false_shipment: Penalty
    fraudulent_shipment: Penalty

    def of(self, kind: ViolationKind) -> Penalty:
        penalty: Penalty = getattr(self, kind)
        return penalty


class Period(_Sourced, frozen=True, omit_defaults=True):
    """Other rules for orders whose group formed in a time: a festival, a promotion, a region in trouble.

    It holds for orders of ``goods_types`` that go to ``regions``, of merchants who stay open in the
    festival or do not; what is absent does not matter. An order that is not known to be of a merchant who
    stays open is of one who does not. What the period does not say stays as it is.
    """

    name: _Text
    formed_from: _Time
    formed_before: _Time
    goods_types: (
        Annotated[
            tuple[GoodsType, ...], Meta(min_length=1, description=f"a list of {', '.join(get_args(GoodsType))}")
        ]
        | None
    ) = None
    regions: (
        Annotated[
            tuple[_Text, ...], Meta(min_length=1, max_length=100, description="a list of 1 to 100 names of regions")
        ]
        | None
    ) = None
    open_in_festival: bool | None = None
    ship_by_hours: GoodsHours | None = None
    ship_before: _Time | None = None
    pickup_hours: GoodsHours | None = None
    suspends: Annotated[
        tuple[ViolationKind, ...], Meta(description="a list of violations whose penalty is not charged")
    ] = ()

    def __post_init__(self) -> None:
        if not _FIRST <= self.formed_from < self.formed_before <= _LAST:
            raise ValueError("formed_from must be before formed_before, and both between 2015 and 2100")
        if self.ship_by_hours and self.ship_before:
            raise ValueError("a period has either ship_by_hours or ship_before")
        if self.ship_before and self.ship_before < self.formed_before:
            raise ValueError("ship_before must not be before formed_before, when groups may still form")
        for name, goods_hours in (("ship_by_hours", self.ship_by_hours), ("pickup_hours", self.pickup_hours)):
            if goods_hours is None:
                continue
            if not goods_hours.types():
                raise ValueError(f"{name} names no goods; leave it out, or say hours for some")
            for each in goods_hours.types():
                if self.goods_types is not None and each not in self.goods_types:
                    raise ValueError(f"{name} says hours for {each}, which is none of its goods_types")
        if not (self.ship_by_hours or self.ship_before or self.pickup_hours or self.suspends):
            raise ValueError("a period says ship_by_hours, ship_before, pickup_hours or suspends")

    def holds_for(self, order: JudgedOrder) -> bool:
        formed = order.group_formed_at
        return (
            formed is not None
            and self.formed_from <= formed < self.formed_before
            and (self.goods_types is None or order.goods_type in self.goods_types)
            and (self.regions is None or order.region in self.regions)
            and (self.open_in_festival is None or self.open_in_festival == bool(order.open_in_festival))
        )


class RuleSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One version of the platform's rules, in force from ``effective_from`` until the next one.

    Of several ``periods`` that hold for an order the first that says something of a matter decides it.
    """

    name: _Name
    title: _Text
    effective_from: _Time
    ship_by: ShipBy
    deemed_stockout: Days
    pickup: Hours
    remedy: Days
    review: ReviewRules
    contact_buyer: ContactRules
    application: ApplicationRules
    delisting: Delisting
    appeal: Days
    tracking: Tracking
    penalty: Penalties
    periods: Annotated[tuple[Period, ...], Meta(max_length=200)] = ()

    def __post_init__(self) -> None:
        if not _FIRST <= self.effective_from <= _LAST:
            raise ValueError("effective_from must be between 2015 and 2100")
        names = [period.name for period in self.periods]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two periods are called {min(twice)!r}; each needs a name of its own")

    @classmethod
    def parse(cls, document: str | Mapping[str, Any], called: str = "the rule set") -> Self:
        """The set of a TOML text, or of JSON decoded already; ``called`` names it to whoever wrote it.

        Raises ``InvalidRuleSet`` with the field that makes no sense and what would be right.
        """
        return read(document, cls, called)

    def ship_by_of(self, order: JudgedOrder) -> datetime | None:
        """When an order whose group has formed is to be shipped, as far as the rules know."""
        limit = self.ship_by.hours.get(order.goods_type)
        if limit is None or order.group_formed_at is None:
            return None
        for period in self.periods:
            if period.holds_for(order):
                if period.ship_before:
                    return period.ship_before
                if other := period.ship_by_hours and period.ship_by_hours.get(order.goods_type):
                    limit = other
                    break
        return later(order.group_formed_at, hours(limit))

    def pickup_hours(self, order: JudgedOrder) -> int | None:
        """Hours from the upload to the carrier's first scan; ``None`` where no carrier is needed."""
        limit = self.pickup.hours.get(order.goods_type)
        for period in self.periods:
            if period.pickup_hours and limit and period.holds_for(order):
                return period.pickup_hours.get(order.goods_type) or limit
        return limit

    def penalty_fen(self, kind: ViolationKind, order: JudgedOrder) -> int | None:
        """What a violation costs; nothing while its penalty is suspended, ``None`` where it can't be known."""
        for period in self.periods:
            if kind in period.suspends and period.holds_for(order):
                return 0
        return self.penalty.of(kind).amount_fen(order.paid_fen)


class RuleBook:
    """All known rule sets, by effective date."""

    def __init__(self, sets: Iterable[RuleSet]) -> None:
        self.sets = tuple(sorted(sets, key=lambda rules: rules.effective_from))
        if not self.sets:
            raise ValueError("a rule book needs at least one rule set")
        for before, after in pairwise(self.sets):
            if before.effective_from == after.effective_from:
                raise ValueError(f"{before.name} and {after.name} are in force from the same moment")
        names = [rules.name for rules in self.sets]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two rule sets are called {min(twice)}")
        self._changes, self._in_force = _timeline(self.sets)

    @classmethod
    def parse(cls, documents: Iterable[str]) -> Self:
        """The book of these TOML documents. Raises ``InvalidRuleSet`` naming the field that makes no sense."""
        return cls(RuleSet.parse(document) for document in documents)

    def in_force(self, at: datetime) -> RuleSet:
        """The set in force at a moment, with the periods of then; before the first known set, the first."""
        return self._in_force[bisect_right(self._changes, at)]

    def governing(self, order: JudgedOrder) -> RuleSet:
        """The set an order is judged by: that of its group's forming, until then that of its placing."""
        since = order.group_formed_at or order.placed_at
        return self.in_force(since) if since and self._changes else self._in_force[-1]


def _timeline(sets: Sequence[RuleSet]) -> tuple[list[datetime], list[RuleSet]]:
    """The moments at which the rules change; and the rules in force before the first of them and after each.

    Each is a set with only the periods of that time, so that orders of ordinary times need not look at any.
    """
    begins: list[datetime] = []
    in_force: list[RuleSet] = []
    ends = [*(rules.effective_from for rules in sets[1:]), _LAST]
    begin = datetime.min.replace(tzinfo=UTC)
    for rules, end in zip(sets, ends, strict=True):
        edges = {edge for period in rules.periods for edge in (period.formed_from, period.formed_before)}
        for since in (begin, *sorted(edge for edge in edges if begin < edge < end)):
            begins.append(since)
            then = tuple([p for p in rules.periods if p.formed_from <= since < p.formed_before])
            in_force.append(replace(rules, periods=then))
        begin = end
    return [begin.astimezone(UTC) for begin in begins[1:]], in_force  # moments of one zone compare quickly
