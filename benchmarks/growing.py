"""How the rate of appending changes as the log grows: an empty log and one of millions of events, by turns."""

import psycopg
import uvloop
from rich.progress import Progress

from benchmarks.appending import CALLS, NOW, STREAMS, append_all, calls, command_rate
from benchmarks.table import Result
from infrastructure.database.pool import WriteConnection

SHOPS = 20
EVENTS_A_STREAM = 5
ORDERS_A_DAY = 1_000
TURNS = 5

# Lives of orders over many days, shop by shop, each event with its leaf hash, as the log would have them.
_FILL = """
INSERT INTO event
SELECT %(shop)s, p + 1, stream, version, event_id, 'OrderPlaced', 1, at, at, payload, '{}',
       event_leaf_hash(%(shop)s, p + 1, stream, version, event_id, 'OrderPlaced', 1::smallint, at, at,
                       payload, '{}')
FROM (
    SELECT p, 'order:' || (250101 + (p / %(a_day)s))
                  || '-' || lpad((hashint8(p / %(each)s)::bigint + 2147483648)::text, 15, '0') AS stream,
           (p %% %(each)s + 1)::integer AS version, gen_random_uuid() AS event_id,
           %(now)s::timestamptz - interval '400 days' + p * interval '10 seconds' AS at,
           convert_to(
               '{"type":"OrderPlaced","lines":[{"sku_id":"52000301","goods_id":"520003","name":"durian",'
               || '"quantity":1,"unit_price_fen":12900}],"paid_fen":12900}', 'UTF8') AS payload
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS p
) e
"""


def fill(url: str, events: int, progress: Progress) -> None:
    """Bring the log of ``SHOPS`` shops to so many events in all."""
    each = events // SHOPS
    task = progress.add_task(f"a log of {events:,} events", total=events)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        for number in range(SHOPS):
            shop = f"shop-{number}"
            for first in range(0, each, 100_000):
                last = min(first + 100_000, each) - 1
                connection.execute(
                    _FILL,
                    {
                        "shop": shop,
                        "each": EVENTS_A_STREAM,
                        "a_day": ORDERS_A_DAY * EVENTS_A_STREAM,
                        "now": NOW,
                        "first": first,
                        "last": last,
                    },
                )
                progress.advance(task, last - first + 1)
            connection.execute("INSERT INTO shop_log VALUES (%s, %s, %s)", (shop, each, NOW))
        connection.execute("VACUUM ANALYZE event")
        connection.execute("CHECKPOINT")


def against_an_empty_log(empty: str, full: str, events: int) -> list[Result]:
    """Batches and single commands into both logs, in turns."""
    return uvloop.run(_against(empty, full, events))


async def _against(empty: str, full: str, events: int) -> list[Result]:
    spent = {empty: 0.0, full: 0.0}
    rates = {empty: 0.0, full: 0.0}
    for turn in range(TURNS):
        for url in (empty, full):
            async with await WriteConnection.connect(url, autocommit=True) as connection:
                spent[url] += await append_all(connection, calls(STREAMS), f"shop-{turn}")
            rates[url] += await command_rate(url, 32)
    appended = TURNS * CALLS * STREAMS * 2
    size = f"a log of {events:,} events"
    return [
        Result(
            f"append, {STREAMS} streams x 2 events a call, {size}",
            "events",
            appended / spent[full],
            "an empty log",
            appended / spent[empty],
        ),
        Result(
            f"single commands in process, 32 writers, {size}",
            "commands",
            rates[full] / TURNS,
            "an empty log",
            rates[empty] / TURNS,
        ),
    ]
