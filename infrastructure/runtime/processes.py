"""Other processes: the one place that starts, feeds, watches and ends them.

``Child`` runs a function of this program in an interpreter of its own. ``Supervised`` keeps a command running.
``run`` waits for a command.

A ``Child`` and a ``Supervised`` command are on a leash: the pipe to their standard input. It closes when this
process ends, killed or not, and then they end too. They run in other sessions, so Ctrl-C reaches only this process,
which ends them.

What happens when a process dies:

=================  ==================================================================================
the live worker    ``Supervised`` starts it again, after a pause
a replay           another process takes over its work; ``Deaths`` fails the replay when many die
a rebuild          the same; what was committed stays, so the next one goes on from there
a verification     it fails at once
a job              the row says so; it is begun again later, by any process (``infrastructure.jobs``)
=================  ==================================================================================
"""

import asyncio
import logging
import os
import pickle
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO, Self

log = logging.getLogger("shiplock.processes")

RESTART_SECONDS = 1.0
"""The pause before a supervised command is started again."""

Completed = subprocess.CompletedProcess[str]

Send = Callable[[object], None]
Serve = Callable[[Iterator[Any], Send], None]
"""The work of a child: it takes requests and sends results. Both are pickled."""

Wake = Callable[[], None]


class Died(Exception):
    """A process ended before its work was done. Its error went to standard error."""


class Deaths:
    """Counts the deaths of processes that share some work. The work fails if there are too many."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0

    def add(self, number: int = 1) -> None:
        self._count += number

    def forget(self) -> None:
        """Count from zero again, because the work made progress."""
        self._count = 0

    @property
    def too_many(self) -> bool:
        return self._count >= self._most


class Child:
    """A process that serves this one: it receives requests and sends back results.

    ``serve`` is a function of a module, ``setup`` its first request.
    """

    def __init__(self, serve: Serve, setup: object, *, niceness: int = 0) -> None:
        # A child imports what this process can import. With -P a file in the current folder is no module.
        modules = os.pathsep.join(map(os.path.abspath, sys.path))
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": modules},
            start_new_session=True,
        )
        assert self._process.stdin
        assert self._process.stdout
        self._requests, self._results = self._process.stdin, self._process.stdout
        with suppress(Died):  # the next call of ``send`` or ``receive`` raises it
            self.send((serve, niceness))
            self.send(setup)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.end()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def status(self) -> int | None:
        """The exit status of a process that ended; ``None`` while it runs."""
        return self._process.poll()

    def send(self, request: object) -> None:
        """Raises ``Died``."""
        try:
            pickle.dump(request, self._requests, pickle.HIGHEST_PROTOCOL)
            self._requests.flush()
        except (BrokenPipeError, ValueError) as error:
            raise Died(self._how_it_ended()) from error

    def receive(self) -> Any:
        """The next result. Raises ``Died`` if there will be none."""
        try:
            return pickle.load(self._results)
        except (EOFError, pickle.UnpicklingError) as error:
            raise Died(self._how_it_ended()) from error

    def _how_it_ended(self) -> str:
        return f"A process ended with status {self._process.wait()}; see its error above."

    def end(self) -> None:
        """End the process, whatever it is doing, and wait until it is gone."""
        self._process.terminate()
        with suppress(BrokenPipeError):  # some requests were not read
            self._requests.close()
        self._process.wait()

    def kill(self) -> None:
        self._process.kill()


class Supervised:
    """Keeps a command running: if it dies, it is started again. A byte on its standard input wakes it."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        self._command = command
        self._env = env
        self._stopping = threading.Event()
        self._process = self._start()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._thread.start()

    def _start(self) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, env=os.environ | self._env, start_new_session=True
        )
        assert process.stdin
        os.set_blocking(process.stdin.fileno(), False)
        return process

    def _watch(self) -> None:
        while not self._stopping.is_set():
            status = self._process.wait()
            if self._stopping.wait(0.0 if status == 0 else RESTART_SECONDS):
                return
            log.error("%s ended with status %s, starting it again", self._command, status)
            self._process = self._start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def wake(self) -> None:
        stdin = self._process.stdin
        assert stdin
        # A full pipe has woken the process already. A closed pipe belongs to a process that will be started again.
        with suppress(BlockingIOError, BrokenPipeError, ValueError):
            os.write(stdin.fileno(), b"\n")

    def stop(self) -> None:
        """End the command, also one that is just being started in its place."""
        self._stopping.set()
        self._let_go()
        self._thread.join()
        self._let_go()

    def _let_go(self) -> None:
        process = self._process
        if process.stdin:
            process.stdin.close()
        process.wait()


def follow_stdin(wake: Wake, stop: Wake) -> None:
    """In a ``Supervised`` command: call ``wake`` for bytes on standard input, and ``stop`` at its end."""
    loop = asyncio.get_running_loop()

    def read() -> None:
        if os.read(0, 4096):
            wake()
        else:
            loop.remove_reader(0)
            stop()

    loop.add_reader(0, read)


def run(
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    held: int | None = None,
) -> Completed:
    """Run a command to its end, with its output as text. It keeps the file descriptor ``held`` open."""
    return subprocess.run(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        pass_fds=() if held is None else (held,),
    )


# ---- the work of a child ----------------------------------------------------------------------------


def _requests(pipe: BinaryIO) -> Iterator[Any]:
    """The requests to this child. A thread reads them, so that it notices the end of the leash at any time."""
    queue: SimpleQueue[Any] = SimpleQueue()

    def read() -> None:
        try:
            while True:
                queue.put(pickle.load(pipe))
        except (EOFError, pickle.UnpicklingError):
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)

    threading.Thread(target=read, name="leash", daemon=True).start()
    while True:
        yield queue.get()


def _serve() -> None:
    """Serve the process that started this one."""
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # accidental output must not get among the results

    def send(result: object) -> None:
        pickle.dump(result, results, pickle.HIGHEST_PROTOCOL)
        results.flush()

    status = 1
    try:
        requests = _requests(sys.stdin.buffer)
        serve, niceness = next(requests)
        os.nice(niceness)
        serve(requests, send)
        status = 0
    except BrokenPipeError:
        pass  # the process that started this one is gone
    except BaseException:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(status)  # a normal exit would wait for the thread that reads the leash


if __name__ == "__main__":
    _serve()
