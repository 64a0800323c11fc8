"""Run the tests against mutants, each in a process of its own.

The tests are collected once. A process is forked for each mutant. It puts the changed code into the functions that
are there, and runs the tests that pass through the changed lines up to the first failure: those first that noticed
something lately, then the quickest.
Lines that run while modules are imported have had their effect by then: for them the process imports all anew.
"""

import gc
import os
import pickle
import resource
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, MutableSequence, Sequence
from functools import partial
from importlib.machinery import SourceFileLoader
from multiprocessing.sharedctypes import RawArray
from types import CodeType, FunctionType
from typing import IO, NamedTuple

import pytest
from coverage import Coverage
from hypothesis import Phase, settings

from tests.mutants.places import Mutant

REIMPORTED = ("domain", "infrastructure", "api", "tests", "prometheus_client")
QUICK = 0.1  # seconds
MEMORY = 4 * 2**30  # bytes: a mutant may gather things without end

# A run is repeatable, and a failure is enough: nobody reads the smallest example.
settings.register_profile("mutants", deadline=None, derandomize=True, phases=(Phase.explicit, Phase.generate))
ARGUMENTS = (
    "-q", "-s", "-x", "--tb=no", "--disable-warnings", "-p", "no:cacheprovider", "--hypothesis-profile=mutants",
)  # fmt: skip


def survivors(mutants: Sequence[Mutant], tests: Sequence[str]) -> list[Mutant]:
    """The mutants that no test notices."""
    judging = _Judging(mutants, tests)
    code = pytest.main([*ARGUMENTS, *tests], plugins=[judging])
    assert code in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED), code
    return judging.survived


class _Passing(NamedTuple):
    """Which tests pass through a line, by their places in the collection, and how many seconds each test takes."""

    tests: dict[tuple[str, int], set[int]]
    seconds: list[float]

    def through(self, lines: Iterable[tuple[str, int]], noticed: Sequence[float]) -> list[int]:
        """The tests that pass through any of the lines: first the quick ones that noticed something lately."""
        tests = {test for line in lines for test in self.tests.get(line, ())}
        return sorted(tests, key=lambda test: (self.seconds[test] > QUICK, -noticed[test], self.seconds[test]))


class _Judging:
    """A plugin of pytest: where pytest would run the tests, it judges the mutants."""

    def __init__(self, mutants: Sequence[Mutant], tests: Sequence[str]) -> None:
        self.survived: list[Mutant] = []
        self._mutants = mutants
        self._tests = tests
        self._processes: dict[int, Mutant] = {}
        self._coverage = Coverage(data_file=None, include=sorted({str(mutant.path) for mutant in mutants}))
        self._coverage.start()

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self._coverage.stop()
        data = self._coverage.get_data()
        imported = {(file, line) for file in data.measured_files() for line in data.lines(file) or ()}
        passing = self._passing(session)
        functions = _functions()
        gc.freeze()  # What is there stays, and stays shared with the processes.
        noticed = RawArray("d", len(session.items))  # by test, when it last noticed something, for all processes
        for number, mutant in enumerate(self._mutants):
            if number % 50 == 0:
                print(f"{number} of {len(self._mutants)}, {len(self.survived)} survived", file=sys.stderr)
            if len(self._processes) == len(os.sched_getaffinity(0)):
                self._wait()
            if imported.intersection(mutant.lines):
                tests = list(range(len(session.items)))
                work = partial(_run_anew, mutant, self._tests)
            else:
                tests = passing.through(mutant.lines, noticed)
                work = partial(_run_changed, mutant, functions[str(mutant.path)], session, tests, noticed)
            self._processes[_fork(work, 30 + 3 * sum(passing.seconds[test] for test in tests))] = mutant
        while self._processes:
            self._wait()
        return True

    def _wait(self) -> None:
        process, status = os.wait()
        mutant = self._processes.pop(process)
        if status == 0:
            self.survived.append(mutant)
            print(f"{mutant.path}:{mutant.line}\n{mutant.change}", file=sys.stderr)

    def _passing(self, session: pytest.Session) -> _Passing:
        """Run the tests without a change, in another process: no cache of this one may hold what they compute."""
        with tempfile.TemporaryFile() as file:
            os.waitpid(_fork(partial(self._measure, session, file)), 0)
            file.seek(0)
            return _Passing(*pickle.load(file))

    def _measure(self, session: pytest.Session, file: IO[bytes]) -> bool:
        seconds = []
        self._coverage.start()
        for number, item in enumerate(session.items):
            self._coverage.switch_context(str(number))
            began = time.perf_counter()
            assert _passes(session, item), f"{item.nodeid} fails without any change."
            seconds.append(time.perf_counter() - began)
        self._coverage.stop()
        tests: dict[tuple[str, int], set[int]] = defaultdict(set)
        data = self._coverage.get_data()
        for path in data.measured_files():
            for line, contexts in data.contexts_by_lineno(path).items():
                tests[path, line] = {int(context) for context in contexts if context}
        pickle.dump((tests, seconds), file)
        file.flush()
        return True


def _fork(work: Callable[[], bool], seconds: float | None = None) -> int:
    """Start work in a process that ends with 0 if it succeeds; one with a limit of processor time is silent."""
    sys.stdout.flush()
    if process := os.fork():
        return process
    success = False
    try:
        if seconds is not None:
            resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds)))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, sys.stdout.fileno())
            os.dup2(silence, sys.stderr.fileno())
        success = work()
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


def _run_changed(
    mutant: Mutant,
    functions: Iterable[FunctionType],
    session: pytest.Session,
    tests: Iterable[int],
    noticed: MutableSequence[float],
) -> bool:
    """Give the changed code to the functions that are there."""
    changed = {(code.co_qualname, code.co_firstlineno): code for code in _codes(_compiled(mutant))}
    for function in functions:
        function.__code__ = changed[function.__code__.co_qualname, function.__code__.co_firstlineno]
    for test in tests:
        if not _passes(session, session.items[test]):
            noticed[test] = time.monotonic()
            return False
    return True


def _run_anew(mutant: Mutant, tests: Sequence[str]) -> bool:
    """Import everything anew, the changed source in place of its file."""
    for name in list(sys.modules):
        if name.split(".")[0] in REIMPORTED and not __name__.startswith(name):
            del sys.modules[name]
    load = SourceFileLoader.get_code

    def get_code(loader: SourceFileLoader, name: str) -> CodeType | None:
        return _compiled(mutant) if loader.path == str(mutant.path) else load(loader, name)

    SourceFileLoader.get_code = get_code  # type: ignore[method-assign, assignment]
    return pytest.main([*ARGUMENTS, *tests]) == pytest.ExitCode.OK


def _compiled(mutant: Mutant) -> CodeType:
    code: CodeType = compile(mutant.source, str(mutant.path), "exec", dont_inherit=True)
    return code


def _codes(code: CodeType) -> Iterable[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)
