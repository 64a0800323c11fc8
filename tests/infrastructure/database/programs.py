"""Programs that use an embedded server, for tests that start, kill and outlive them."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[3]

PROGRAM = """
import sys
from pathlib import Path
from infrastructure.database.embedded import EmbeddedServer

with EmbeddedServer.start(Path(sys.argv[1])) as server:
    print(server.url, flush=True)
    sys.stdin.read()
"""


def as_user(uid: int) -> tuple[str, ...]:
    """The words that root puts before a command to run it as an ordinary user.

    The user may pass closed folders, since the Python of these tests may be behind one. This makes nobody root.
    """
    change = ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups")
    return (*change, "--inh-caps=-all,+dac_override", "--ambient-caps=-all,+dac_override")


@contextmanager
def starting(data_dir: Path, *prefix: str) -> Iterator["subprocess.Popen[str]"]:
    """A program that is starting the server. It has its own process group, which is killed at the end."""
    process = subprocess.Popen(
        [*prefix, sys.executable, "-c", PROGRAM, str(data_dir)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def using(data_dir: Path, *prefix: str) -> Iterator["subprocess.Popen[str]"]:
    """A program that uses the server until `end_program`. At the latest it is killed at the end of the block."""
    with starting(data_dir, *prefix) as process:
        url_of(process)
        yield process


def url_of(process: "subprocess.Popen[str]") -> str:
    """The URL of the program's server. Waits until the server runs."""
    assert process.stdout
    url = process.stdout.readline().strip()
    assert url, "the program ended before its server ran"
    return url


def end_program(process: "subprocess.Popen[str]") -> None:
    """Let a program end by itself."""
    assert process.stdin
    process.stdin.close()
    assert process.wait(60) == 0


def until(condition: Callable[[], object], *, within: float = 60.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(0.005)


def postmaster(data_dir: Path) -> int:
    """The process number of the server of a data folder."""
    return int((data_dir / "postgresql" / "postmaster.pid").read_text().splitlines()[0])
