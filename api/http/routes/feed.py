"""The shop's feed: every event in the order it was recorded, as pages or as a live stream."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Annotated

import msgspec
from fastapi import Query, Request
from fastapi.responses import Response, StreamingResponse
from fastapi.sse import format_sse_event

from api.http import openapi
from api.http.parameters import FeedQuery, ShopId
from api.http.permissions import GuardedRouter, admission_of, needs
from api.http.problems import Refused, wrong
from api.http.responses import json_response
from api.program import Program
from infrastructure.access.doorkeeper import Doorkeeper
from infrastructure.log.log import read_head
from infrastructure.queries.event_json import StoredEventView, feed
from infrastructure.runtime import clock

router = GuardedRouter(tags=["queries"])

POLL_SECONDS = 0.25
HEARTBEAT_SECONDS = 15.0

EVENT_STREAM = "text/event-stream"


class EventsPage(msgspec.Struct, frozen=True):
    """Events behind ``after``. ``next_cursor`` is the next ``after``, null at the head of the log."""

    items: list[StoredEventView]
    next_cursor: str | None


@router.get("/v1/shops/{shop_id}/events", responses=openapi.feed("StoredEventView", "beyond_head"))
@needs("events:read")
async def events(request: Request, shop_id: ShopId, query: Annotated[FeedQuery, Query()]) -> Response:
    """The shop's events behind a position, gapless and in order.

    With `Accept: text/event-stream` a live stream that begins there, or behind `Last-Event-ID`, and
    goes on with what is recorded from then on. A position that the log has not reached is a problem:
    who has it read another log, or this one before it was restored. When a page looks for some types
    only, it may hold fewer events than asked for and still have a next one.
    """
    program: Program = request.app.state.program
    types = query.types.split(",") if query.types else None
    is_live = EVENT_STREAM in request.headers.get("accept", "")
    after = (_last_event_id(request) if is_live else None) or query.after
    async with program.pool.read() as connection:
        head = await read_head(connection, shop_id)
    if after > head:
        raise Refused("beyond_head", f"The log ends at position {head}; there is no {after} yet.")
    if is_live:
        stream = live(program, shop_id, after, types, lambda: _is_still_admitted(request, shop_id))
        return StreamingResponse(stream, media_type=EVENT_STREAM, headers={"Cache-Control": "no-store"})
    async with program.pool.read() as connection:
        page = await feed(connection, shop_id, query.after, query.limit, types)
    return json_response(EventsPage(page.events, str(page.searched) if page.has_more else None))


async def live(
    program: Program, shop_id: str, after: int, types: list[str] | None, is_admitted: Callable[[], bool]
) -> AsyncIterator[bytes]:
    """Server-sent events from a position on, until the client leaves, loses its right, or the program stops.

    The id of each is its position; a comment now and then keeps the connection open.
    """
    loop = asyncio.get_running_loop()
    quiet_since = loop.time()
    yield format_sse_event(comment="begins")
    while not program.closing.is_set() and is_admitted():
        async with program.pool.read() as connection:
            shown, after, has_more = await feed(connection, shop_id, after, 500, types)
        for event in shown:
            data = msgspec.json.encode(event).decode()
            yield format_sse_event(data_str=data, event=event.type, id=str(event.position))
        if shown:
            quiet_since = loop.time()
        elif loop.time() - quiet_since > HEARTBEAT_SECONDS:
            quiet_since = loop.time()
            yield format_sse_event(comment="still here")
        if not has_more:
            await asyncio.sleep(POLL_SECONDS)


def _is_still_admitted(request: Request, shop_id: str) -> bool:
    keeper: Doorkeeper = request.app.state.access
    credential = admission_of(request).credential
    return keeper.is_current and keeper.directory.still_admits(credential, "events:read", shop_id, clock.now())


def _last_event_id(request: Request) -> int | None:
    header = request.headers.get("last-event-id")
    if header is None:
        return None
    if not header.isdecimal() or len(header) > 18:
        raise wrong("Last-Event-ID", "not a position of this stream", "header")
    return int(header)
