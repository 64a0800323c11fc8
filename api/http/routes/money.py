"""What broken rules cost: penalties summed up, and the platform's bills beside what the rules say."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import Field

from api.http import openapi
from api.http.paging import decode_cursor, listed
from api.http.parameters import Day, Moment, ShopId, Waiting
from api.http.problems import wrong
from api.http.routes.orders import wait_for
from api.http.routes.reports import of_every_order
from api.program import Program
from domain.money.reconciliation import DifferenceKind
from infrastructure.projections.views import CHARGES, ORDERS, VIOLATIONS
from infrastructure.queries import as_of
from infrastructure.queries.penalties import By, penalty_sums, penalty_sums_at
from infrastructure.queries.reconciliation import list_differences
from infrastructure.queries.reports import BadPeriod, Period
from infrastructure.runtime import clock

router = APIRouter(tags=["money"])


class ReconciliationQuery(Waiting):
    since: Annotated[
        Moment | None, Field(alias="from", description="Orders charged, or with a violation, at or after this.")
    ] = None
    until: Annotated[Moment | None, Field(alias="to", description="And before this.")] = None
    difference: Annotated[DifferenceKind | None, Field(description="Only differences of this kind.")] = None


class PenaltiesQuery(Waiting):
    by: Annotated[By, Field(description="Sum up by order, by SKU or by day.")] = "day"
    since: Annotated[
        Day | None, Field(alias="from", description="The first day, in Beijing (default: six days before `to`).")
    ] = None
    until: Annotated[
        Day | None, Field(alias="to", description="The last day, in Beijing (default: today); at most 92 in all.")
    ] = None
    as_of: Annotated[Moment | None, Field(description="As things stood then, by what had happened.")] = None
    known_at: Annotated[Moment | None, Field(description="As the log knew them then. Goes with `as_of`.")] = None


@router.get("/v1/shops/{shop_id}/reconciliation", responses=openapi.page("Difference", "not_reached"))
async def reconciliation(
    request: Request, shop_id: ShopId, query: Annotated[ReconciliationQuery, Query()]
) -> Response:
    """Where the platform's bills and the rules disagree, by order number.

    An order is in the period with all its charges and violations as soon as one of them is: a bill comes days after
    what it is for. A page may hold fewer items than asked for and still have a next one.
    """
    after = decode_cursor(query.cursor, tuple[str, int])
    program: Program = request.app.state.program
    if query.min_position:
        for view in (VIOLATIONS, CHARGES):
            await wait_for(program, shop_id, view, query.min_position)
    async with program.pool.read() as connection:
        page = await list_differences(
            connection,
            shop_id,
            program.book,
            clock.now(),
            query.limit,
            after,
            since=query.since,
            until=query.until,
            difference=query.difference,
        )
    return listed(page.items, page.next_key)


@router.get("/v1/shops/{shop_id}/reports/penalties", responses=openapi.page("PenaltySum", "not_reached"))
async def penalties(request: Request, shop_id: ShopId, query: Annotated[PenaltiesQuery, Query()]) -> Response:
    """What broken rules cost, by order, by SKU or by day, as it stands now.

    Violations count on the day they arose; those that were overturned don't. Of an order with several SKUs each
    bears its part by value. At another moment the whole shop is folded from the events that may be seen from it;
    of a large shop the command line does that.
    """
    after = decode_cursor(query.cursor, tuple[str])
    program: Program = request.app.state.program
    now = clock.now()
    moment = as_of.Moment(query.as_of, query.known_at) if query.as_of or query.known_at else None
    try:
        period = Period.of(query.since, query.until, moment.judged_at if moment else now)
    except BadPeriod as error:
        raise wrong("from", str(error)) from error
    last = after[0] if after else None
    if moment:
        sums = partial(
            penalty_sums_at, program.url, shop_id, program.book, query.by, period, moment, query.limit, last
        )
        page = await of_every_order(program, shop_id, "penalties", sums)
        return listed(page.items, page.next_key)
    if query.min_position:
        for view in (VIOLATIONS, ORDERS):
            await wait_for(program, shop_id, view, query.min_position)
    async with program.pool.read() as connection:
        page = await penalty_sums(connection, shop_id, query.by, period, now, query.limit, last)
    return listed(page.items, page.next_key)
