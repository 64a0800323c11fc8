"""Results: a rate of ours, the rate of a peer, and the ratio that counts."""

import platform
from typing import NamedTuple

from rich.console import Console
from rich.table import Table


class Result(NamedTuple):
    """``ours`` and ``peer`` in ``unit`` per second; where the unit is ``ms``, so long it takes."""

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


def _quantity(value: float, unit: str) -> str:
    return f"{value:,.0f} ms" if unit == "ms" else f"{value:,.0f} {unit}/s"


def show(results: list[Result]) -> None:
    table = Table(
        "what", "ours", "peer", "ratio", "note", title=f"{platform.machine()}, {platform.python_version()}"
    )
    for result in results:
        table.add_row(
            result.claim,
            _quantity(result.ours, result.unit),
            f"{result.peer_name}: {_quantity(result.peer, result.unit)}",
            f"{result.ratio:.2f}",
            result.note,
        )
    Console(width=170).print(table)
