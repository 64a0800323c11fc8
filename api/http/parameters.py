"""The query parameters of the API: shapes, bounds and defaults."""

import re
from datetime import date, datetime
from typing import Annotated, Any, Literal

from fastapi import Header, Path
from pydantic import BeforeValidator, Field

from api.http.paging import Paged
from api.http.requests import SLASH_OF_ID, Parameters
from domain.kernel import ID_PATTERN, IDENTIFIER, PRINTABLE_CHARACTER, ViolationKind
from domain.order.deadlines import DeadlineKind, DeadlineState
from domain.order.diff import By
from domain.order.filters import DeadlineFilter, OrderFilter, ViolationFilter
from domain.order.state import Status
from domain.order.violations import AppealState
from domain.viewpoint import Viewpoint
from infrastructure.jobs.job import JobState
from infrastructure.queries.lists import OrderSort
from infrastructure.queries.moments import parse_day, parse_moment
from infrastructure.queries.orders import DiffRequest


def _plain(text: str) -> str:
    if not re.fullmatch(f"{PRINTABLE_CHARACTER}+", text):
        raise ValueError("control characters are not allowed")
    return text


def _apart(given: list[str] | None) -> list[str] | None:
    """Values that are given one by one, or several separated by commas."""
    return None if given is None else [part for value in given for part in value.split(",")]


def _id_of_others(example: str, description: str) -> Any:
    """An id in the path that others made up."""
    pattern = f"^{PRINTABLE_CHARACTER}+$"
    return Path(min_length=1, max_length=64, pattern=pattern, examples=[example], description=description)


TimeField = Annotated[datetime, BeforeValidator(parse_moment)]
Day = Annotated[date, BeforeValidator(parse_day)]
Actor = Annotated[
    str | None,
    Header(
        alias="Shiplock-Actor",
        description="Whom the client acts for, by its own word; kept with the events as on_behalf_of.",
    ),
]
ShopId = Annotated[str, Path(pattern=ID_PATTERN, examples=["100000001"], description="The shop's id.")]
OrderSn = Annotated[
    str,
    Path(pattern=ID_PATTERN, examples=["180831-481803633911509"], description="The platform's order number."),
]
_WITH_SLASHES = BeforeValidator(lambda given: given.replace(SLASH_OF_ID, "/"))

SkuId = Annotated[
    str,
    _WITH_SLASHES,
    _id_of_others("52000301", "The SKU's id; a slash in it is written %2F."),
]
SupplierId = Annotated[str, _WITH_SLASHES, _id_of_others("S-17", "The supplier's id.")]
CaseId = Annotated[
    str,
    _WITH_SLASHES,
    Path(
        max_length=100,
        pattern=f"^{IDENTIFIER}:[0-9]{{1,18}}$",
        examples=["52000301:1234"],
        description="The case's id: a SKU and a position of the shop's log.",
    ),
]
MinPosition = Annotated[
    int | None,
    Field(ge=0, le=2**62, description="Wait until the list has reached this position of the shop's log."),
]


class Waiting(Paged):
    min_position: MinPosition = None


class AtATime(Parameters):
    as_of: Annotated[TimeField | None, Field(description="As things stood then, by what had happened.")] = None
    known_at: Annotated[TimeField | None, Field(description="As the log knew them then. Goes with `as_of`.")] = None

    @property
    def viewpoint(self) -> Viewpoint:
        return Viewpoint(self.as_of, self.known_at)


class NowOrThen(AtATime):
    min_position: MinPosition = None


class PageNowOrThen(AtATime, Waiting):
    pass


class AtAMoment(Parameters):
    as_of: Annotated[TimeField | None, Field(description="The order as it stood then, by what had happened.")] = (
        None
    )
    known_at: Annotated[TimeField | None, Field(description="The order as the log knew it then.")] = None
    at_version: Annotated[int | None, Field(ge=1, le=2**31 - 1, description="The order after so many events.")] = (
        None
    )

    @property
    def viewpoint(self) -> Viewpoint:
        return Viewpoint(self.as_of, self.known_at, self.at_version)


class OrdersQuery(PageNowOrThen):
    status: Annotated[Status | None, Field(description="Only orders of this status.")] = None
    locked: Annotated[bool | None, Field(description="Only orders whose shipping is, or is not, locked.")] = None
    sku_id: Annotated[
        str | None,
        BeforeValidator(_plain),
        Field(min_length=1, max_length=64, description="Only orders with this SKU."),
    ] = None
    due_before: Annotated[
        TimeField | None, Field(description="Only orders that need a tracking number before then.")
    ] = None
    violation: Annotated[
        ViolationKind | None, Field(description="Only orders on which such a violation stands.")
    ] = None
    order_sn: Annotated[
        list[Annotated[str, Field(pattern=ID_PATTERN)]] | None,
        BeforeValidator(_apart),
        Field(max_length=100, description="Only orders with these numbers, separated by commas or repeated."),
    ] = None
    tracking_number: Annotated[
        str | None,
        BeforeValidator(_plain),
        Field(min_length=1, max_length=64, description="Only the orders of which a parcel has this number."),
    ] = None
    supplier_id: Annotated[
        str | None,
        BeforeValidator(_plain),
        Field(min_length=1, max_length=64, description="Only orders that this supplier has or had."),
    ] = None
    goods_id: Annotated[
        str | None,
        BeforeValidator(_plain),
        Field(min_length=1, max_length=64, description="Only orders with these goods."),
    ] = None
    sku_code: Annotated[
        str | None,
        BeforeValidator(_plain),
        Field(min_length=1, max_length=64, description="Only orders with this code of the merchant's for a SKU."),
    ] = None
    sort: Annotated[
        Literal[OrderSort, "order_sn"] | None,
        Field(description="By ship-by (default), newest first, or by number (default at another moment)."),
    ] = None

    @property
    def filter(self) -> OrderFilter:
        return OrderFilter(
            order_sns=frozenset(self.order_sn) if self.order_sn is not None else None,
            tracking_number=self.tracking_number,
            supplier_id=self.supplier_id,
            goods_id=self.goods_id,
            sku_code=self.sku_code,
            status=self.status,
            locked=self.locked,
            sku_id=self.sku_id,
            due_before=self.due_before,
            violation=self.violation,
        )


class ViolationsQuery(PageNowOrThen):
    sort: Annotated[
        Literal["arose_at", "order_sn"] | None,
        Field(description="By when they arose (default), or by order number (default at another moment)."),
    ] = None
    kind: ViolationKind | None = None
    since: Annotated[TimeField | None, Field(alias="from", description="Only what arose at or after this.")] = None
    until: Annotated[TimeField | None, Field(alias="to", description="Only what arose before this.")] = None
    appeal: Annotated[
        AppealState | None,
        Field(description="Only what was not disputed, is still disputed, or came out like this."),
    ] = None

    @property
    def filter(self) -> ViolationFilter:
        return ViolationFilter(kind=self.kind, since=self.since, until=self.until, appeal=self.appeal)


class DeadlinesQuery(PageNowOrThen):
    sort: Annotated[
        Literal["due_at", "order_sn"] | None,
        Field(description="By when they are due (default), or by order number (default at another moment)."),
    ] = None
    kind: DeadlineKind | None = None
    due_before: Annotated[TimeField | None, Field(description="Only deadlines due before this.")] = None
    state: DeadlineState | None = None

    @property
    def filter(self) -> DeadlineFilter:
        return DeadlineFilter(kind=self.kind, due_before=self.due_before, state=self.state)


class SkusQuery(PageNowOrThen):
    oversold: Annotated[
        bool | None, Field(description="Only SKUs of which more is due soon than can be shipped, or only others.")
    ] = None
    listed: Annotated[bool | None, Field(description="Only SKUs that are, or are not, for sale.")] = None


class CasesQuery(PageNowOrThen):
    state: Annotated[
        Literal["open", "closed"] | None, Field(description="Only cases that are open, or closed; both by default.")
    ] = None


class HandedOver(Parameters):
    since: Annotated[
        TimeField | None, Field(alias="from", description="Only orders handed over at or after this.")
    ] = None
    until: Annotated[TimeField | None, Field(alias="to", description="Only orders handed over before this.")] = None


class SupplierQuery(HandedOver, NowOrThen):
    pass


class SuppliersQuery(HandedOver, PageNowOrThen):
    pass


class DoubtfulQuery(Waiting):
    since: Annotated[
        TimeField | None, Field(alias="from", description="Only numbers that went up at or after this.")
    ] = None
    until: Annotated[
        TimeField | None, Field(alias="to", description="Only numbers that went up before this; at most 31 days.")
    ] = None


class JobsQuery(Paged):
    state: Annotated[JobState | None, Field(description="Only jobs in this state.")] = None
    kind: Annotated[
        str | None, BeforeValidator(_plain), Field(max_length=64, description="Only jobs of this kind.")
    ] = None


class DaysQuery(Parameters):
    since: Annotated[
        Day | None, Field(alias="from", description="The first day, in Beijing (default: six days before `to`).")
    ] = None
    until: Annotated[
        Day | None, Field(alias="to", description="The last day, in Beijing (default: today); at most 92 in all.")
    ] = None


class ReportQuery(DaysQuery, NowOrThen):
    pass


class DiffQuery(Parameters):
    since: Annotated[str, Field(alias="from", max_length=64, description="A version or a time.")]
    until: Annotated[str, Field(alias="to", max_length=64, description="A version or a time.")]
    by: Annotated[By, Field(description="Between times: by what had happened, or by what the log had learned.")] = (
        "as_of"
    )
    as_of: Annotated[
        TimeField | None,
        Field(description="Between versions, or times of `by=known_at`: of how things stood then, at both."),
    ] = None
    known_at: Annotated[
        TimeField | None, Field(description="Between times of `by=as_of`: by what the log knew then, at both.")
    ] = None

    @property
    def request(self) -> DiffRequest:
        return DiffRequest(since=self.since, until=self.until, by=self.by, as_of=self.as_of, known_at=self.known_at)


class CheckpointQuery(Parameters):
    size: Annotated[
        int | None, Field(ge=1, le=2**62, description="The checkpoint of this size (default: the newest).")
    ] = None


class ConsistencyQuery(Parameters):
    since: Annotated[int, Field(alias="from", ge=1, le=2**62, description="The older checkpoint's size.")]
    until: Annotated[
        int | None, Field(alias="to", ge=1, le=2**62, description="The newer one's size (default: the newest).")
    ] = None


class FeedQuery(Parameters):
    after: Annotated[int, Field(ge=0, le=2**62, description="Events behind this position.")] = 0
    limit: Annotated[int, Field(ge=1, le=500)] = 50
    types: Annotated[
        str | None,
        Field(
            max_length=2000,
            pattern=r"^[A-Za-z]+(,[A-Za-z]+)*$",
            description="Only these event types, separated by commas.",
        ),
    ] = None
