"""Files that are there whole or not at all."""

import os
import time
from pathlib import Path

import pytest

from infrastructure.runtime import atomic_files


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a file is to be; a program that wrote it died two hours ago, and another is at it now."""
    for name, age in (
        (".a[1].jsonl.0123abcd", 7_200),
        (".a[1].jsonl.89abcdef", 60),
        (".a[1].jsonl.backup", 7_200),
        (".a1.jsonl.0123abcd", 7_200),
    ):
        left = tmp_path / name
        left.write_text("half", encoding="utf-8")
        os.utime(left, (time.time() - age,) * 2)
    return tmp_path / "a[1].jsonl"


def beside(file: Path) -> list[str]:
    return sorted(each.name for each in file.parent.iterdir() if each != file)


OTHERS = [".a1.jsonl.0123abcd", ".a[1].jsonl.89abcdef", ".a[1].jsonl.backup"]


def test_what_a_killed_program_left_is_gone_when_the_file_is_replaced(file: Path) -> None:
    with atomic_files.replacing(file) as into:
        into.write(b"whole")
    assert file.read_bytes() == b"whole"
    assert beside(file) == OTHERS


def test_what_a_killed_program_left_is_gone_when_the_file_is_written(file: Path) -> None:
    atomic_files.write(file, b"whole", mode=0o444)
    assert beside(file) == OTHERS
    with pytest.raises(FileExistsError):
        atomic_files.write(file, b"other", mode=0o444)
    assert beside(file) == OTHERS
