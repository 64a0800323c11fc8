"""What broken rules cost: penalties summed up, and the platform's bills beside what the rules say."""

from datetime import datetime
from functools import partial
from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import Response
from pydantic import Field

from api.http import openapi
from api.http.moments import read_at
from api.http.paging import decode_cursor, page_response
from api.http.parameters import DaysQuery, PageNowOrThen, ShopId, TimeField
from api.http.permissions import FOLDED, GuardedRouter, needs, take
from api.program import Program
from domain.money.attribution import By
from domain.money.period import DayRange
from domain.money.reconciliation import Difference, DifferenceKind
from infrastructure.database.pool import ReadConnection
from infrastructure.queries import penalties as penalty_queries
from infrastructure.queries import reconciliation as reconciliation_queries
from infrastructure.queries.paging import OrderKey, Page
from infrastructure.queries.penalties import PenaltyKey, penalty_sums, penalty_sums_at
from infrastructure.queries.reconciliation import UnmatchedCharge, UnmatchedKey, list_differences, list_unmatched
from infrastructure.queries.waiting import wait_for
from infrastructure.runtime import clock

router = GuardedRouter(tags=["money"])


class ReconciliationQuery(PageNowOrThen):
    since: Annotated[
        TimeField | None, Field(alias="from", description="Orders charged, or with a violation, at or after this.")
    ] = None
    until: Annotated[TimeField | None, Field(alias="to", description="And before this.")] = None
    difference: Annotated[DifferenceKind | None, Field(description="Only differences of this kind.")] = None


class PenaltiesQuery(DaysQuery, PageNowOrThen):
    by: Annotated[By, Field(description="Sum up by order, by SKU or by day.")] = "day"


@router.get("/v1/shops/{shop_id}/reconciliation", responses=openapi.page("Difference", "not_reached"))
@needs("money:read")
async def reconciliation(
    request: Request, shop_id: ShopId, query: Annotated[ReconciliationQuery, Query()]
) -> Response:
    """Where the platform's bills and the rules disagree, now or as it stood at another moment, by order number.

    An order is in the period with all its charges and violations as soon as one of them is: a bill comes days after
    what it is for. A page may hold fewer items than asked for and still have a next one.
    """
    cursor = decode_cursor(query.cursor, OrderKey)
    program: Program = request.app.state.program

    async def read(connection: ReadConnection, at: datetime) -> Page[Difference, OrderKey]:
        return await list_differences(
            connection,
            shop_id,
            program.book,
            at,
            query.limit,
            cursor,
            since=query.since,
            until=query.until,
            difference=query.difference,
        )

    views = reconciliation_queries.VIEWS_READ
    return page_response(await read_at(program, shop_id, query, views, "reconcile", read))


@router.get("/v1/shops/{shop_id}/unmatched-charges", responses=openapi.page("UnmatchedCharge", "not_reached"))
@needs("money:read")
async def unmatched_charges(
    request: Request, shop_id: ShopId, query: Annotated[PageNowOrThen, Query()]
) -> Response:
    """Lines of the platform's bills that name no order of the shop's log, by time.

    Some penalties are billed without an order number. A line of an order that is not in the log yet leaves the list
    when the order is imported.
    """
    cursor = decode_cursor(query.cursor, UnmatchedKey)
    program: Program = request.app.state.program

    async def read(connection: ReadConnection, _: datetime) -> Page[UnmatchedCharge, UnmatchedKey]:
        return await list_unmatched(connection, shop_id, query.limit, cursor)

    views = reconciliation_queries.UNMATCHED_VIEWS_READ
    return page_response(await read_at(program, shop_id, query, views, "unmatched-charges", read))


@router.get("/v1/shops/{shop_id}/reports/penalties", responses=openapi.page("PenaltySum", "not_reached"))
@needs("money:read")
async def penalties(request: Request, shop_id: ShopId, query: Annotated[PenaltiesQuery, Query()]) -> Response:
    """What broken rules cost, by order, by SKU or by day, as it stands now.

    Violations count on the day they arose; those that were overturned don't. Of an order with several SKUs each
    bears its part by value. At another moment the whole shop is folded from the events that may be seen from it;
    of a large shop the command line does that.
    """
    cursor = decode_cursor(query.cursor, PenaltyKey)
    program: Program = request.app.state.program
    now, viewpoint = clock.now(), query.viewpoint
    period = DayRange.of(query.since, query.until, viewpoint.judged_at(now))
    if not viewpoint.is_now:
        take(request, FOLDED)
        fold = partial(
            penalty_sums_at,
            program.url,
            shop_id,
            program.book,
            query.by,
            period,
            viewpoint,
            now,
            query.limit,
            cursor,
        )
        return page_response(await program.whole_shops.run(program.pool, shop_id, "penalties", fold))
    await wait_for(program.pool, shop_id, penalty_queries.VIEWS_READ, query.min_position)
    async with program.pool.read() as connection:
        page = await penalty_sums(connection, shop_id, query.by, period, now, query.limit, cursor)
    return page_response(page)
