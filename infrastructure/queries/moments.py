"""Times and days that people and programs give: how they are written, and between which years they lie."""

from datetime import UTC, date, datetime
from typing import Annotated

import msgspec

from domain.calendar import BEIJING
from domain.kernel import EARLIEST

LATEST = datetime(2100, 1, 1, tzinfo=BEIJING)
_decoder = msgspec.json.Decoder(Annotated[datetime, msgspec.Meta(tz=True)])


def parse_moment(given: object) -> datetime:
    """An RFC 3339 time with offset, as UTC; a ``+`` that a client did not encode arrives as a blank.

    Raises ``ValueError`` for anything else and for times outside 2015 to 2100.
    """
    text = given.isoformat() if isinstance(given, datetime) else str(given).strip().replace(" ", "+")
    try:
        moment: datetime = _decoder.decode(msgspec.json.encode(text))
    except msgspec.DecodeError:
        raise ValueError("not an RFC 3339 time with offset, such as 2026-03-02T09:00:00+08:00") from None
    if not EARLIEST <= moment <= LATEST:
        raise ValueError("a time between 2015 and 2100 is needed")
    return moment.astimezone(UTC)


def parse_day(given: object) -> date:
    """A calendar day, ``YYYY-MM-DD``. Raises ``ValueError`` for anything else and for days outside 2015 to 2100."""
    try:
        day = msgspec.convert(str(given).strip(), date)
    except msgspec.ValidationError:
        raise ValueError("not a day such as 2026-03-02") from None
    if not EARLIEST.date() <= day <= LATEST.date():
        raise ValueError("a day between 2015 and 2100 is needed")
    return day
