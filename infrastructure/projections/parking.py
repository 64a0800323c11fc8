"""Parking orders and SKUs with an event that can't be applied to the views.

The worker retries them a few times and then leaves them to people. The other orders of the shop go on. Views show a
parked order as it was before that event. The event and all later events of the order wait until a retry succeeds.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from infrastructure.database.pool import ReadConnection, WriteConnection
from infrastructure.log.columns import Texts
from infrastructure.log.streams import STREAM_KINDS

ParkedState = Literal["retrying", "parked", "discarded"]

BACK_OFF = (1.0, 4.0, 15.0, 60.0)
"""Seconds before each retry. After the last one the order is left to people."""


_PARK = """
INSERT INTO parked (shop_id, stream, position, error, state, attempts, retry_at, parked_at)
VALUES (%(shop_id)s, %(stream)s, %(position)s, %(error)s, %(state)s, %(attempts)s, %(retry_at)s, %(now)s)
ON CONFLICT (shop_id, stream) DO UPDATE
SET position = excluded.position, error = excluded.error, state = excluded.state,
    attempts = excluded.attempts, retry_at = excluded.retry_at
"""


class Waiting(NamedTuple):
    """The part of a parked order that the worker needs."""

    position: int
    state: ParkedState
    attempts: int
    retry_at: datetime

    def is_due(self, now: datetime) -> bool:
        return self.state == "retrying" and self.retry_at <= now


async def waiting_of(connection: ReadConnection, shop_ids: list[str]) -> dict[tuple[str, str], Waiting]:
    """The parked orders of these shops, by shop and stream."""
    cursor = await connection.execute(
        "SELECT shop_id, stream, position, state, attempts, retry_at FROM parked WHERE shop_id = ANY (%s)",
        (Texts(shop_ids),),
    )
    return {(shop_id, stream): Waiting(*rest) for shop_id, stream, *rest in await cursor.fetchall()}


async def shops_to_retry(connection: ReadConnection, now: datetime, limit: int) -> list[str]:
    cursor = await connection.execute(
        """SELECT shop_id FROM parked WHERE state = 'retrying' AND retry_at <= %s
           GROUP BY shop_id ORDER BY min(retry_at) LIMIT %s""",
        (now, limit),
    )
    return [shop_id for (shop_id,) in await cursor.fetchall()]


async def settle(
    connection: WriteConnection,
    outcomes: Mapping[tuple[str, str], tuple[int, str] | None],
    before: Mapping[tuple[str, str], Waiting],
    now: datetime,
) -> None:
    """Record the outcomes of trying these orders: ``None``, or the position of the failed event and its error.

    ``before`` has those that were parked already.
    """
    for (shop_id, stream), failure in outcomes.items():
        previous = before.get((shop_id, stream))
        if failure is None:
            if previous:
                await connection.execute("DELETE FROM parked WHERE shop_id = %s AND stream = %s", (shop_id, stream))
            continue
        position, error = failure
        attempts = previous.attempts + 1 if previous and previous.position == position else 1
        retrying = attempts <= len(BACK_OFF)
        wait = BACK_OFF[attempts - 1] if retrying else 0.0
        parameters: dict[str, Any] = {
            "shop_id": shop_id,
            "stream": stream,
            "position": position,
            "error": error[:2_000],
            "state": "retrying" if retrying else "parked",
            "attempts": attempts,
            "retry_at": now + timedelta(seconds=wait),
            "now": now,
        }
        await connection.execute(_PARK, parameters)


async def retry(connection: WriteConnection, shop_id: str, of: str, now: datetime) -> bool:
    """Let the worker retry the order or SKU of this id from now on. Returns whether it was parked."""
    cursor = await connection.execute(
        """UPDATE parked SET state = 'retrying', attempts = 0, retry_at = %s
           WHERE shop_id = %s AND stream = ANY (%s)""",
        (now, shop_id, [kind.stream(of) for kind in STREAM_KINDS]),
    )
    return cursor.rowcount > 0


async def retry_all(connection: WriteConnection, now: datetime) -> None:
    """Let the worker retry all parked orders and SKUs that people have not discarded."""
    await connection.execute(
        "UPDATE parked SET state = 'retrying', attempts = 0, retry_at = %s WHERE state <> 'discarded'", (now,)
    )


async def discard(connection: WriteConnection, shop_id: str, of: str) -> bool:
    """Ignore the failed event and all later ones of its stream, in live views and rebuilds.

    Returns whether it was parked.
    """
    cursor = await connection.execute(
        "UPDATE parked SET state = 'discarded' WHERE shop_id = %s AND stream = ANY (%s)",
        (shop_id, [kind.stream(of) for kind in STREAM_KINDS]),
    )
    return cursor.rowcount > 0
