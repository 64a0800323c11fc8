"""A kind of job: a function that does it, and how often it is tried.

The function runs in the event loop of the process that took the job. It gives long computations to a child process
(``Context.in_child``), so that they take no time from requests.
"""

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from domain.rules.ruleset import RuleBook
from infrastructure.database.pool import Pool, WriteConnection
from infrastructure.jobs.job import Job
from infrastructure.runtime import garbage_collection
from infrastructure.runtime.processes import Child, Send

Report = Callable[[int, int], None]
"""Says how far a job is: so much is done, of so much."""

ChildWork = Callable[..., Any]
"""What a child process does: a function of a module, given a ``Report`` and then the arguments of ``in_child``."""


class JobFailed(Exception):
    """The job failed for good: trying it again would not help. The message says why."""


class Postponed(Exception):
    """The job can't be done now. It is tried again after ``seconds``, as if it had not been begun."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Raised(Exception):
    """A child's work raised an exception; its traceback went to standard error."""


@dataclass
class Context:
    """What a job is done with."""

    url: str
    pool: Pool
    book: RuleBook
    threads: Executor
    reached: tuple[int, int] | None = field(default=None, init=False)

    def report(self, done: int, total: int) -> None:
        """Say how far the job is. The runner stores it now and then."""
        self.reached = done, total

    async def in_child(self, work: ChildWork, *arguments: Any, niceness: int = 0) -> Any:
        """Run ``work`` in a child process and return its result. A cancellation ends the child.

        Raises ``JobFailed`` if ``work`` raises it, ``Raised`` if it raises another exception, and ``Died`` if the
        child dies.
        """
        loop = asyncio.get_running_loop()
        start = partial(Child, _serve, (work, arguments), niceness=niceness)
        child = await loop.run_in_executor(self.threads, start)
        try:
            while True:
                match await loop.run_in_executor(self.threads, child.receive):
                    case _Reached(done, total):
                        self.report(done, total)
                    case _Ended(outcome):
                        return outcome
                    case Exception() as error:
                        raise error
        finally:
            child.kill()
            await loop.run_in_executor(None, child.end)


Abandoned = Callable[[WriteConnection, Job, str], Awaitable[None]]
"""Called in the transaction in which a job fails for good or is cancelled, with the reason."""

Retried = Callable[[WriteConnection, Job], Awaitable[None]]
"""Called in the transaction in which a job that failed or was cancelled is retried. Raises ``NotPossible``."""

GoOn = Callable[[WriteConnection], Awaitable[None]]
"""Called when a runner starts: requests jobs for what was begun and has none."""


@dataclass(frozen=True)
class JobKind:
    """A kind of job.

    A job that raises an exception, or whose process dies, is tried again after ``first_delay`` seconds, then after
    twice as many, at most ``longest_delay``; after ``attempts`` it has failed, unless it is periodic.
    """

    name: str
    run: Callable[[Context, Job], Awaitable[Any]]
    attempts: int = 5
    first_delay: float = 1.0
    longest_delay: float = 600.0
    abandoned: Abandoned | None = None
    retried: Retried | None = None
    go_on: GoOn | None = None

    def delay(self, attempts: int) -> float:
        """How many seconds to wait after so many attempts."""
        return min(self.first_delay * 2.0 ** min(attempts - 1, 30), self.longest_delay)


# ---- what a child does ------------------------------------------------------------------------------


class _Reached(NamedTuple):
    done: int
    total: int


class _Ended(NamedTuple):
    outcome: Any


def _serve(requests: Iterator[Any], send: Send) -> None:
    work, arguments = next(requests)
    garbage_collection.tune()
    try:
        outcome = work(lambda done, total: send(_Reached(done, total)), *arguments)
    except JobFailed as error:
        send(error)
    except Exception as error:
        traceback.print_exc()
        send(Raised(f"{type(error).__name__}: {error}"))
    else:
        send(_Ended(outcome))
