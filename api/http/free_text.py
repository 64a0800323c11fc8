"""Free text of commands must hold no personal number: what an event holds can never be taken back.

A buyer's mobile or identity-card number has no place in a log that is kept for ever (Personal Information
Protection Law, articles 6 and 47).
"""

import re
from datetime import date

from api.http.problems import FieldError, Refused
from domain.kernel import Command

FREE_TEXT = ("note", "message", "evidence")
"""The fields that people write freely."""

_MOBILE = re.compile(r"(?<![0-9A-Za-z])(?:\+?86[- ]?)?1[3-9][0-9](?:[- ]?[0-9]{4}){2}(?![0-9A-Za-z])")
_CARD = re.compile(
    r"(?<![0-9A-Za-z])([1-9][0-9]{5})((?:18|19|20)[0-9]{2})([0-9]{2})([0-9]{2})[0-9]{3}[0-9Xx](?![0-9A-Za-z])"
)
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECK = "10X98765432"


def check_free_text(command: Command, pointer: str = "#") -> None:
    """Refuse a command whose free text holds a personal number: ``invalid_request``. Its text is not repeated."""
    for name in FREE_TEXT:
        text = getattr(command, name, None)
        if isinstance(text, str) and (what := personal_number(text)):
            detail = f"it holds what looks like {what}; events are kept for ever, so leave it out"
            raise Refused("invalid_request", f"{name}: {detail}", errors=[FieldError(f"{pointer}/{name}", detail)])


def personal_number(text: str) -> str | None:
    """What kind of personal number a text holds, if any: a mainland mobile number, or an identity-card number."""
    if len(text) < 11:
        return None
    if _MOBILE.search(text):
        return "a mobile number"
    if any(_is_card(found) for found in _CARD.finditer(text)):
        return "an identity-card number"
    return None


def _is_card(found: re.Match[str]) -> bool:
    """Whether eighteen digits are a number of GB 11643: a day of birth, and the right check digit."""
    number = found[0].upper()
    try:
        date(int(found[2]), int(found[3]), int(found[4]))
    except ValueError:
        return False
    total = sum(weight * int(digit) for weight, digit in zip(_WEIGHTS, number, strict=False))
    return _CHECK[total % 11] == number[-1]
