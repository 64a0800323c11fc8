"""Files that exist as a whole or not at all."""

import os
import time
from pathlib import Path

import pytest

from infrastructure.runtime import atomic_files


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The path of a file to write. One program that was writing it died two hours ago; another writes it now."""
    for name, age in (
        (".a[1].jsonl.0123abcd", 7_200),
        (".a[1].jsonl.89abcdef", 60),
        (".a[1].jsonl.backup", 7_200),
        (".a1.jsonl.0123abcd", 7_200),
    ):
        part = tmp_path / name
        part.write_text("half", encoding="utf-8")
        os.utime(part, (time.time() - age,) * 2)
    return tmp_path / "a[1].jsonl"


def neighbours(file: Path) -> list[str]:
    return sorted(entry.name for entry in file.parent.iterdir() if entry != file)


OTHERS = [".a1.jsonl.0123abcd", ".a[1].jsonl.89abcdef", ".a[1].jsonl.backup"]


def test_the_parts_of_a_killed_program_are_removed_when_the_file_is_replaced(file: Path) -> None:
    with atomic_files.replacing(file) as output:
        output.write(b"whole")
    assert file.read_bytes() == b"whole"
    assert neighbours(file) == OTHERS


def test_the_parts_of_a_killed_program_are_removed_when_the_file_is_written(file: Path) -> None:
    atomic_files.write(file, b"whole", mode=0o444)
    assert neighbours(file) == OTHERS
    with pytest.raises(FileExistsError):
        atomic_files.write(file, b"other", mode=0o444)
    assert neighbours(file) == OTHERS
