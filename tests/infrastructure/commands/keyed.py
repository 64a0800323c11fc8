"""Commands with idempotency keys, and what the log has of their order."""

from domain.kernel import Command
from domain.order import commands as c
from infrastructure.commands.intents import IdempotencyKey, OrderCommand
from infrastructure.database.pool import Pool
from infrastructure.log.log import ORDER, read_stream
from tests.orders import SHOP, order_sn

CONTACT = c.ContactBuyer(channel="chat", message="hi")
SHIP = c.UploadTracking(carrier="SF", tracking_number="SF1")


def keyed(command: Command, key: str = "k", fingerprint: bytes = b"f") -> OrderCommand:
    return OrderCommand(SHOP, order_sn(0), command, "test", idempotency=IdempotencyKey(key, fingerprint))


async def types(pool: Pool, number: int = 0) -> list[str]:
    async with pool.connection() as connection:
        return [event.type for event in await read_stream(connection, SHOP, ORDER + order_sn(number))]
