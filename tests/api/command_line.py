"""The command line as its users call it: a process with arguments, an environment, output and an exit status.

Importing the program takes longer than most commands do. So one process imports it and is forked for each command.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Request(NamedTuple):
    """A command to run. ``folder`` is where the files ``stdout`` and ``stderr`` are written."""

    arguments: list[str]
    environment: dict[str, str]
    folder: str


class CommandLine:
    """Runs ``shiplock``, each time in a process of its own."""

    def __init__(self, server: "subprocess.Popen[str]") -> None:
        self._server = server

    def run(self, *arguments: object, environment: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
        """Run a command with nothing on its standard input and wait for its end."""
        assert self._server.stdin
        assert self._server.stdout
        given = [str(argument) for argument in arguments]
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(Request(given, dict(environment), folder)), file=self._server.stdin, flush=True)
            status = int(self._server.stdout.readline())
            stdout, stderr = (
                Path(folder, name).read_bytes().decode().replace("\r\n", "\n") for name in ("stdout", "stderr")
            )
        return subprocess.CompletedProcess(["shiplock", *given], status, stdout, stderr)


@contextmanager
def command_lines() -> Iterator[CommandLine]:
    with subprocess.Popen(
        [sys.executable, "-m", __name__], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        yield CommandLine(server)  # at the end its standard input is closed, and so it ends


def forked() -> bool:
    """Fork a process for every request and print the exit status of each.

    True in the forked process, which is to run the command; false when no more requests come.
    """
    for line in sys.stdin:
        request = Request(*json.loads(line))
        child = os.fork()
        if child == 0:
            become(request)
            return True
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    return False


def become(request: Request) -> None:
    """Make this process what a shell would have started."""
    files = (os.devnull, f"{request.folder}/stdout", f"{request.folder}/stderr")
    for number, file in enumerate(files):
        opened = os.open(file, os.O_RDWR | os.O_CREAT)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(request.environment)
    sys.argv = ["shiplock", *request.arguments]


if __name__ == "__main__":
    from api.cli import main

    if forked():
        main()
