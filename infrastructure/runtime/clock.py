"""The one clock of the program, at its edge."""

import time
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now() -> datetime:
    """The time, in UTC, to the microsecond.

    Made from ``time.time_ns`` because ``datetime.now`` answers with a subclass while a test freezes
    time, which msgspec rightly refuses to take for a datetime; frozen time moves this one as well.
    """
    return EPOCH + timedelta(microseconds=time.time_ns() // 1000)
