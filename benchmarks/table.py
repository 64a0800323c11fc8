"""Results: a rate of ours, the rate of what it is measured beside, and the ratio that counts."""

import platform
from typing import NamedTuple

from rich.console import Console
from rich.table import Table


class Result(NamedTuple):
    """``ours`` and ``peer`` in ``unit`` per second."""

    claim: str
    unit: str
    ours: float
    peer_name: str
    peer: float
    note: str = ""

    @property
    def ratio(self) -> float:
        return self.ours / self.peer


def plural(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' if count > 1 else ''}"


def show(results: list[Result]) -> None:
    table = Table(
        "what", "ours", "beside", "ratio", "note", title=f"{platform.machine()}, {platform.python_version()}"
    )
    for result in results:
        table.add_row(
            result.claim,
            f"{result.ours:,.0f} {result.unit}/s",
            f"{result.peer_name}: {result.peer:,.0f} {result.unit}/s",
            f"{result.ratio:.2f}",
            result.note,
        )
    Console(width=170).print(table)
