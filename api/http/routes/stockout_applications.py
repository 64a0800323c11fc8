"""Applying for stockout of many orders at once: a list of order numbers in, an answer for every row out."""

import asyncio
from io import BytesIO
from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import Response
from pydantic import Field

from api.http import openapi
from api.http.parameters import Actor, ShopId, TimeField
from api.http.permissions import GuardedRouter, admission_of, forbidden, needs, take
from api.http.problems import wrong
from api.http.request_schemas import MOST_ORDERS, StockoutApplications
from api.http.requests import Parameters, body_of, claim, decode
from api.http.responses import written
from api.program import Program
from infrastructure.files.lines import UnreadableSheet
from infrastructure.files.tables import RejectedRow
from infrastructure.imports import stockout_applications as stockouts
from infrastructure.imports.stockout_applications import (
    MOST_SKUS,
    ApplicationReport,
    request_stockouts,
)
from infrastructure.imports.stockout_lists import Entry, Reason, StockoutListReader, entries

MOST_UNPACKED = 16 << 20
"""Bytes to which a packed list may unpack."""

router = GuardedRouter(tags=["commands"])

MAX_BYTES = 1 << 20


class OfAFile(Parameters):
    reason: Annotated[
        Reason | None, Field(description="With a file: of the rows that do not say one themselves.")
    ] = None
    sku_id: list[str] = Field(
        default_factory=list,
        max_length=MOST_SKUS,
        description="With a file: apply for these SKUs alone, where a row names none.",
    )
    occurred_at: Annotated[
        TimeField | None, Field(description="With a file: when it was applied for (default: now).")
    ] = None
    dry_run: Annotated[bool, Field(description="With a file: say what would happen and append nothing.")] = False


@router.post(
    "/v1/shops/{shop_id}/stockout-applications",
    openapi_extra=openapi.json_or_csv(
        "StockoutApplications",
        {"reason": "oversold", "order_sns": ["180831-481803633911509"], "sku_ids": ["52000301"]},
        "订单号,样式ID,缺货原因\n180831-481803633911509,52000301,oversold\n",
    ),
    responses=openapi.ok("ApplicationReport", "too_large"),
)
@needs("orders:act")
async def apply(
    request: Request, shop_id: ShopId, query: Annotated[OfAFile, Query()], given_by: Actor = None
) -> Response:
    """Apply for stockout of many orders: as JSON, or as a file (CSV, XLSX, or an archive) with a column 订单号.

    Every row is answered; one that is refused or makes no sense never stops the others. An order whose
    application is under review already is left as it is, so a list may be sent again.
    """
    body = await body_of(request, MAX_BYTES)
    giver = admission_of(request).giver(claim(given_by))
    if openapi.is_file(request.headers.get("content-type", "")):
        rows = await asyncio.to_thread(_rows, body)
        application = stockouts.Request(shop_id, giver, query.reason, tuple(query.sku_id), query.occurred_at)
        dry_run = query.dry_run
    else:
        _only_with_csv(query)
        sent = decode(body or b"{}", StockoutApplications)
        rows = list(entries(sent.order_sns))
        application = stockouts.Request(shop_id, giver, sent.reason, sent.sku_ids, sent.occurred_at)
        dry_run = sent.dry_run
    if application.occurred_at is not None and "orders:record" not in admission_of(request).held:
        raise forbidden(frozenset({"orders:record"}))
    take(request, max(0, len(rows) - 1))
    program: Program = request.app.state.program
    report = ApplicationReport()
    submit = program.submitter(dry_run=dry_run)
    await request_stockouts(rows, application, submit, program.book, report)
    return written(report, report.position or None)


def _rows(body: bytes) -> list[Entry | RejectedRow]:
    rows: list[Entry | RejectedRow] = []
    with StockoutListReader(BytesIO(body), MOST_UNPACKED) as reader:
        for row in reader:
            if len(rows) == MOST_ORDERS:
                raise UnreadableSheet(f"it has more than {MOST_ORDERS:,} rows; send it in parts")
            rows.append(row)
    return rows


def _only_with_csv(query: OfAFile) -> None:
    """A parameter that has no effect is a mistake."""
    for name in query.model_fields_set:
        raise wrong(name, f"with a JSON body this is a field of it; send {openapi.CSV} to give it here")
