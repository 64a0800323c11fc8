"""Other processes do their work, are reported when they die, and end with the program that started them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infrastructure.runtime.processes import Child, Deaths, Died, Send, run

ROOT = Path(__file__).parents[3]


def doubles(requests: Iterator[Any], send: Send) -> None:
    """The first request is the number of other requests to serve."""
    for _ in range(next(requests)):
        send(2 * next(requests))


def chatters(requests: Iterator[Any], send: Send) -> None:
    print("printed by accident", flush=True)
    os.write(1, b"and at the lowest level")
    send(next(requests))


def fails(requests: Iterator[Any], send: Send) -> None:
    raise ArithmeticError("it does not add up")


def computes_for_ever(requests: Iterator[Any], send: Send) -> None:
    send(os.getpriority(os.PRIO_PROCESS, 0))
    while True:
        pass


def alive(pid: int) -> bool:
    """A zombie counts as dead. In a container there may be no process that removes it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(true: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_child_serves_until_its_work_is_done() -> None:
    with Child(doubles, 3) as child:
        for number in (1, 2):
            child.send(number)
            assert child.receive() == 2 * number
        assert child.status is None
        child.send(3)
        assert child.receive() == 6
        with pytest.raises(Died, match="status 0"):
            child.receive()
        assert child.status == 0


def test_the_output_of_a_child_does_not_get_among_its_results() -> None:
    with Child(chatters, "a result") as child:
        assert child.receive() == "a result"


def test_a_child_that_fails_says_why_and_is_dead(capfd: pytest.CaptureFixture[str]) -> None:
    with Child(fails, None) as child, pytest.raises(Died, match="status 1"):
        child.receive()
    assert "it does not add up" in capfd.readouterr().err


def test_a_child_that_is_killed_is_dead() -> None:
    with Child(doubles, 1) as child:
        os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(Died, match="status -9"):
            child.receive()


def test_a_child_that_computes_is_ended_at_once() -> None:
    with Child(computes_for_ever, None, niceness=5) as child:
        assert child.receive() == os.getpriority(os.PRIO_PROCESS, 0) + 5
    assert not alive(child.pid)


def test_a_child_does_not_outlive_a_program_that_is_killed() -> None:
    program = """
import time
from infrastructure.runtime.processes import Child
from tests.infrastructure.runtime.test_processes import computes_for_ever
child = Child(computes_for_ever, None)
child.receive()
print(child.pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        assert alive(child)
        parent.kill()
    wait_until(lambda: not alive(child))


def test_deaths_count_from_zero_when_the_work_makes_progress() -> None:
    deaths = Deaths(3)
    deaths.add(2)
    deaths.forget()
    deaths.add(2)
    assert not deaths.too_many
    deaths.add()
    assert deaths.too_many


def test_a_command_is_run_to_its_end_and_its_output_is_returned() -> None:
    done = run([sys.executable, "-c", "import sys; print(1); print(2, file=sys.stderr); sys.exit(3)"])
    assert (done.returncode, done.stdout, done.stderr) == (3, "1\n", "2\n")


def test_a_file_in_the_current_folder_does_not_stand_in_for_a_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pickle.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    with Child(doubles, 1) as child:
        child.send(21)
        assert child.receive() == 42
