"""What all imports share: rows in batches, and their intents submitted, or previewed in a dry run.

Batches keep memory small however long a file is.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from infrastructure.commands.intents import OrderIntent, OrderOutcome

BATCH = 500
"""Rows that are submitted together."""

MOST_REASONS = 1_000
"""Rows that a report names one by one; the rest are only counted."""

T = TypeVar("T")

Submit = Callable[[Sequence[OrderIntent]], Awaitable[Sequence[OrderOutcome | Exception]]]
"""``CommandPath.submit``, or ``Preview.submit`` for a dry run."""


def batches(rows: Iterable[T]) -> Iterator[list[T]]:
    """Rows as they come, ``BATCH`` at a time."""
    source = iter(rows)
    while batch := list(islice(source, BATCH)):
        yield batch


class MiscountedRows(Exception):
    """A row of a file became neither new, changed, unchanged nor rejected: this program has a fault."""

    def __init__(self, read: int, accounted_for: int) -> None:
        super().__init__(
            f"{read:,} rows were read but {accounted_for:,} are accounted for; please report this fault"
        )


async def outcomes_of(submit: Submit, intents: Sequence[OrderIntent]) -> list[OrderOutcome]:
    """The outcomes of intents in their order. Raises what stopped one of them, such as ``Unavailable``."""
    outcomes: list[OrderOutcome] = []
    if not intents:
        return outcomes
    for outcome in await submit(intents):
        if isinstance(outcome, Exception):
            raise outcome
        outcomes.append(outcome)
    return outcomes
