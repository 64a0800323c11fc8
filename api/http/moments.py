"""Reading the views of a shop as they are now, or as they would be at another moment."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TypeVar

from api.http.parameters import NowOrThen, PageNowOrThen
from api.program import Program
from infrastructure.database.pool import ReadConnection
from infrastructure.projections.view import View
from infrastructure.queries.views_at import views_at
from infrastructure.queries.waiting import wait_for
from infrastructure.runtime import clock

T = TypeVar("T")


async def read_at(
    program: Program,
    shop_id: str,
    query: NowOrThen | PageNowOrThen,
    views: Sequence[View],
    command: str,
    read: Callable[[ReadConnection, datetime], Awaitable[T]],
) -> T:
    """What ``read`` makes of some views of a shop; it gets a connection, and the moment to judge at.

    Of now the views are read once they have reached the position that the client waits for. For another moment the
    whole shop is folded, and the log is never behind. Raises ``NotReached``, ``ReplayRunning``, and
    ``ShopTooLarge``, which names the ``command`` that folds any shop.
    """
    now, viewpoint = clock.now(), query.viewpoint
    if viewpoint.is_now:
        await wait_for(program.pool, shop_id, views, query.min_position)
        async with program.pool.read() as connection:
            return await read(connection, now)

    async def fold() -> T:
        async with views_at(program.url, shop_id, program.book, viewpoint, views) as connection:
            return await read(connection, viewpoint.judged_at(now))

    return await program.whole_shops.run(program.pool, shop_id, command, fold)
