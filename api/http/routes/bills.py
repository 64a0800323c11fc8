"""Bringing in a bill of the platform as a file: what ``import-bill`` does, over HTTP."""

import asyncio
from io import BytesIO
from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import Response
from pydantic import Field

from api.http import openapi
from api.http.parameters import Actor, ShopId
from api.http.permissions import GuardedRouter, admission_of, needs, take
from api.http.problems import wrong
from api.http.requests import Parameters, body_of, claim
from api.http.responses import written
from api.program import Program
from infrastructure.files.lines import UnreadableSheet
from infrastructure.files.tables import RejectedRow
from infrastructure.imports.bills import BillReport, import_bill
from infrastructure.pinduoduo.bills import BillLine, BillReader, OtherLine
from infrastructure.runtime import clock

router = GuardedRouter(tags=["money"])

MAX_BYTES = 1 << 20
MOST_UNPACKED = 16 << 20
MOST_LINES = 10_000


class OfABill(Parameters):
    dry_run: Annotated[bool, Field(description="Say what would happen and append nothing.")] = False


@router.post(
    "/v1/shops/{shop_id}/bills",
    openapi_extra=openapi.a_sheet(
        "商户订单号,发生时间,收入金额（+元）,支出金额（-元）,业务描述\n"
        "180831-481803633911509,2018-09-03 10:00:00,,-3.00,售后费用-延迟发货\n"
    ),
    responses=openapi.ok("BillReport", "too_large"),
)
@needs("money:write")
async def bills(
    request: Request, shop_id: ShopId, query: Annotated[OfABill, Query()], given_by: Actor = None
) -> Response:
    """Bring in a bill as a file: CSV, XLSX, or an archive of one, at most 1 MiB and 10,000 lines.

    Lines about penalties are recorded with the orders they name; lines of orders that the shop does not have wait
    for them (`unmatched`). `left_out` lists those that make no sense or contradict an earlier line (`rejected`);
    the others go in. A line that is known already changes nothing, so a bill may be sent again.
    """
    giver = admission_of(request).giver(claim(given_by))
    if not openapi.is_file(request.headers.get("content-type", "")):
        raise wrong("Content-Type", f"send the file itself, as {openapi.CSV} or {openapi.XLSX}", "header")
    lines = await asyncio.to_thread(_lines, await body_of(request, MAX_BYTES))
    take(request, max(0, len(lines) - 1))
    program: Program = request.app.state.program
    report = BillReport()
    await import_bill(lines, shop_id, program.pool, program.submitter(dry_run=query.dry_run), report, giver=giver)
    return written(report, report.position or None)


def _lines(body: bytes) -> list[BillLine | RejectedRow | OtherLine]:
    lines: list[BillLine | RejectedRow | OtherLine] = []
    with BillReader(BytesIO(body), now=clock.now(), most_unpacked=MOST_UNPACKED) as reader:
        for line in reader:
            if len(lines) == MOST_LINES:
                raise UnreadableSheet(
                    f"it has more than {MOST_LINES:,} lines; send it in parts, or use the command line"
                )
            lines.append(line)
    return lines
