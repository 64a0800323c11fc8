"""Other processes: the one place that starts, feeds, watches and ends them.

``Child`` runs a function of this program in an interpreter of its own. ``Supervised`` keeps a command running.
``run`` waits for a command.

A ``Child`` and a ``Supervised`` command are on a leash: the pipe to their standard input. It ends when this process
ends, killed or not, and they end with it. They are in sessions of their own, so Ctrl-C reaches this process alone,
and this process ends them.

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
"""What a child does: takes requests, and sends results. Both are pickled."""

Wake = Callable[[], None]


class Died(Exception):
    """A process ended before its work did. What it complained of went to standard error."""


class Deaths:
    """Counts the deaths of processes that do a piece of work, which fails when there are too many."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0

    def add(self, number: int = 1) -> None:
        self._count += number

    def forget(self) -> None:
        """The work went on in spite of them."""
        self._count = 0

    @property
    def too_many(self) -> bool:
        return self._count >= self._most


class Child:
    """A process that serves this one: it is sent requests, and sends back results.

    ``serve`` is a function of a module, ``setup`` its first request.
    """

    def __init__(self, serve: Serve, setup: object, *, niceness: int = 0) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        assert self._process.stdin
        assert self._process.stdout
        self._requests, self._results = self._process.stdin, self._process.stdout
        with suppress(Died):  # said by what is sent or received next
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
        """End the process, whatever it does, and wait until it is gone."""
        self._process.terminate()
        with suppress(BrokenPipeError):  # of what was written and is not read any more
            self._requests.close()
        self._process.wait()

    def kill(self) -> None:
        self._process.kill()


class Supervised:
    """Keeps a command running, and starts it again should it die. A byte on its standard input wakes it."""

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
        # A full pipe has woken it already; a closed one is that of a process about to be started again.
        with suppress(BlockingIOError, BrokenPipeError, ValueError):
            os.write(stdin.fileno(), b"\n")

    def stop(self) -> None:
        """End the command, and one that was just being started in its place."""
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
    """Be led as a ``Supervised`` command: any byte on standard input wakes, its end stops."""
    loop = asyncio.get_running_loop()

    def led() -> None:
        if os.read(0, 4096):
            wake()
        else:
            loop.remove_reader(0)
            stop()

    loop.add_reader(0, led)


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


# ---- what a child does ------------------------------------------------------------------------------


def _requests(pipe: BinaryIO) -> Iterator[Any]:
    """What is sent to this child. A thread reads it, to see the end of the leash whatever else is done."""
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
    os.dup2(2, 1)  # what is printed by accident must not get among the results

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
        pass  # nobody is there any more
    except BaseException:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(status)  # the thread that reads the leash would be waited for


if __name__ == "__main__":
    _serve()
