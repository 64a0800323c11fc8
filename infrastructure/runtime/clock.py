"""The only clock of the program. The domain has none: times are passed to it."""

import time
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now() -> datetime:
    """The present time in UTC, to the microsecond.

    It comes from ``time.time_ns``. While a test freezes time, ``datetime.now`` returns a subclass of datetime, and
    msgspec refuses that. Freezing works for ``time.time_ns`` as well.
    """
    return EPOCH + timedelta(microseconds=time.time_ns() // 1000)
