"""Run the tests against mutants, each in a process of its own.

The tests are collected once. A process is forked for each mutant. It puts the changed code into the functions that
are there, and runs the tests that pass through the changed lines up to the first failure. Lines that ran while
modules were imported have had their effect by then: if no test fails, the process imports all anew and runs all
tests.
"""

import faulthandler
import gc
import os
import pickle
import resource
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib.machinery import SourceFileLoader
from multiprocessing.sharedctypes import RawArray
from types import CodeType, FunctionType
from typing import IO

import pytest
from coverage import Coverage
from hypothesis import Phase, settings

from tests.mutants.places import Mutant

REIMPORTED = ("domain", "infrastructure", "api", "tests", "prometheus_client")
QUICK = 0.1  # seconds
MEMORY = 4 * 2**30  # bytes: a mutant may gather things without end

# A run is repeatable, and a failure is enough: nobody reads the smallest example. Laws have few examples, for what
# they notice only by chance is not tested. A test that waits in vain is over after a minute.
settings.register_profile(
    "mutants", deadline=None, derandomize=True, max_examples=15, phases=(Phase.explicit, Phase.generate)
)
ARGUMENTS = (
    "-q", "-s", "-x", "--tb=no", "--disable-warnings", "-p", "no:cacheprovider", "--timeout=60",
    "--hypothesis-profile=mutants",
)  # fmt: skip


def survivors(mutants: Sequence[Mutant], tests: Sequence[str]) -> list[Mutant]:
    """The mutants that no test notices."""
    judging = _Judging(mutants, tests)
    code = pytest.main([*ARGUMENTS, *tests], plugins=[judging])
    assert code in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED), code
    return judging.survived


class _Tests:
    """The tests by id: how long they take, through which lines they pass, when they last noticed something."""

    def __init__(self, seconds: dict[str, float], through: dict[tuple[str, int], set[str]]) -> None:
        self.seconds = seconds
        self._through = through
        self._noticed = RawArray("d", len(seconds))  # shared by all processes
        self._numbers = {test: number for number, test in enumerate(seconds)}

    def through(self, lines: Iterable[tuple[str, int]]) -> set[str]:
        return {test for line in lines for test in self._through.get(line, ())}

    def rank(self, test: str) -> tuple[bool, float, float]:
        """The lower it is the earlier a test is run: slow ones last, first those that noticed something lately."""
        seconds = self.seconds[test]
        return seconds > QUICK, -self._noticed[self._numbers[test]], seconds

    def notice(self, test: str) -> None:
        self._noticed[self._numbers[test]] = time.monotonic()

    def limit(self, tests: Iterable[str]) -> int:
        """The seconds after which tests that are still running will never end."""
        return 30 + int(3 * sum(self.seconds[test] for test in tests))


class _Judging:
    """A plugin of pytest: where pytest would run the tests, it judges the mutants."""

    def __init__(self, mutants: Sequence[Mutant], paths: Sequence[str]) -> None:
        self.survived: list[Mutant] = []
        self._mutants = mutants
        self._paths = paths
        self._processes: dict[int, Mutant] = {}
        self._coverage = Coverage(data_file=None, include=sorted({str(mutant.path) for mutant in mutants}))
        self._coverage.start()

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self._coverage.stop()
        data = self._coverage.get_data()
        imported = {(file, line) for file in data.measured_files() for line in data.lines(file) or ()}
        tests = self._measured(session)
        functions = _functions()
        gc.freeze()  # What is there stays, and stays shared with the processes.
        for number, mutant in enumerate(self._mutants):
            if number % 50 == 0:
                print(f"{number} of {len(self._mutants)}, {len(self.survived)} survived", file=sys.stderr)
            if len(self._processes) == len(os.sched_getaffinity(0)):
                self._wait()
            passing = tests.through(mutant.lines)
            items = [item for item in session.items if item.nodeid in passing]
            judgements = [partial(_survives_changed, mutant, functions[str(mutant.path)], tests, session, items)]
            if imported.intersection(mutant.lines):
                judgements.append(partial(_survives_anew, mutant, tests, self._paths))
            seconds = tests.limit(tests.seconds if len(judgements) > 1 else passing)
            self._processes[_fork(judgements, seconds)] = mutant
        while self._processes:
            self._wait()
        return True

    def _wait(self) -> None:
        process, status = os.wait()
        mutant = self._processes.pop(process)
        if status == 0:
            self.survived.append(mutant)
            print(f"{mutant.path}:{mutant.line}\n{mutant.change}", file=sys.stderr)

    def _measured(self, session: pytest.Session) -> _Tests:
        """Run the tests without a change, in another process: no cache of this one may hold what they compute."""
        with tempfile.TemporaryFile() as file:
            os.waitpid(_fork([partial(self._measure, session, file)]), 0)
            file.seek(0)
            return _Tests(*pickle.load(file))

    def _measure(self, session: pytest.Session, file: IO[bytes]) -> bool:
        seconds = {}
        self._coverage.start()
        for item in session.items:
            self._coverage.switch_context(item.nodeid)
            began = time.perf_counter()
            assert _passes(session, item), f"{item.nodeid} fails without any change."
            seconds[item.nodeid] = time.perf_counter() - began
        self._coverage.stop()
        data = self._coverage.get_data()
        through = {
            (path, line): set(contexts) & seconds.keys()
            for path in data.measured_files()
            for line, contexts in data.contexts_by_lineno(path).items()
        }
        pickle.dump((seconds, through), file)
        file.flush()
        return True


def _fork(works: Iterable[Callable[[], bool]], seconds: int | None = None) -> int:
    """Start works in a process that ends with 0 if all succeed.

    One with a limit of processor time is silent. The same limit holds on the clock, for a test that fails may leave
    a wait behind that never ends.
    """
    sys.stdout.flush()
    if process := os.fork():
        return process
    success = False
    try:
        if seconds is not None:
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            faulthandler.dump_traceback_later(seconds, exit=True, file=open(os.devnull, "w"))  # noqa: SIM115
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, sys.stdout.fileno())
            os.dup2(silence, sys.stderr.fileno())
        success = all(work() for work in works)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(not success)


def _passes(session: pytest.Session, item: pytest.Item) -> bool:
    item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
    return not session.testsfailed


def _functions() -> dict[str, list[FunctionType]]:
    """All functions there are, by their file."""
    functions = defaultdict(list)
    for each in gc.get_objects():
        if isinstance(each, FunctionType):
            functions[each.__code__.co_filename].append(each)
    return functions


def _survives_changed(
    mutant: Mutant,
    functions: Iterable[FunctionType],
    tests: _Tests,
    session: pytest.Session,
    items: Sequence[pytest.Item],
) -> bool:
    """Give the changed code to the functions that are there."""
    changed = {(code.co_qualname, code.co_firstlineno): code for code in _codes(_compiled(mutant))}
    for function in functions:
        function.__code__ = changed[function.__code__.co_qualname, function.__code__.co_firstlineno]
    for item in sorted(items, key=lambda item: tests.rank(item.nodeid)):
        if not _passes(session, item):
            tests.notice(item.nodeid)
            return False
    return True


class _Again:
    """A plugin of pytest that runs tests in the order that notices a change soonest."""

    def __init__(self, tests: _Tests) -> None:
        self._tests = tests

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: self._tests.rank(item.nodeid))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._tests.notice(report.nodeid)


def _survives_anew(mutant: Mutant, tests: _Tests, paths: Sequence[str]) -> bool:
    """Import everything anew, the changed source in place of its file."""
    for name in list(sys.modules):
        if name.split(".")[0] in REIMPORTED and not __name__.startswith(name):
            del sys.modules[name]
    load = SourceFileLoader.get_code

    def get_code(loader: SourceFileLoader, name: str) -> CodeType | None:
        return _compiled(mutant) if loader.path == str(mutant.path) else load(loader, name)

    SourceFileLoader.get_code = get_code  # type: ignore[method-assign, assignment]
    return pytest.main([*ARGUMENTS, *paths], plugins=[_Again(tests)]) == pytest.ExitCode.OK


def _compiled(mutant: Mutant) -> CodeType:
    code: CodeType = compile(mutant.source, str(mutant.path), "exec", dont_inherit=True)
    return code


def _codes(code: CodeType) -> Iterable[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)
