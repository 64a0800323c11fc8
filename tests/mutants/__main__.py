"""How many changes of the code do the tests notice, and which do they not?"""

import random
import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from tests.mutants.judging import survivors
from tests.mutants.places import Mutant, mutants_of

ROOT = Path(__file__).parents[2]
ARGUMENTS = Path(__file__).with_name("equivalent.toml")
ENOUGH = 97  # percent that must be noticed


class Subject(NamedTuple):
    """Code to change, as folders and files, and the tests that judge it."""

    code: tuple[str, ...]
    tests: tuple[str, ...]

    def mutants(self, only: str) -> list[Mutant]:
        paths = [ROOT / name for name in self.code]
        files = [file for path in paths for file in ([path] if path.is_file() else sorted(path.rglob("*.py")))]
        return [mutant for file in files if only in str(file) for mutant in mutants_of(file)]


SUBJECTS = {
    "domain": Subject(("domain",), ("tests/domain",)),
    "commands": Subject(("infrastructure/commands",), ("tests/infrastructure/commands",)),
    "views": Subject(
        ("infrastructure/projections/views",), ("tests/infrastructure/projections/test_view_rows.py",)
    ),
}


def main(
    what: Annotated[str, typer.Argument(help=f"The code to change: {', '.join(SUBJECTS)}.")],
    sample: Annotated[str, typer.Option(help="How many mutants to judge, or all.")] = "all",
    seed: Annotated[int, typer.Option(help="Another seed draws another sample.")] = 1,
    only: Annotated[str, typer.Option(help="Change only files whose path contains this.")] = "",
) -> None:
    """Change the code in one place at a time, and show which changes no test notices."""
    subject = SUBJECTS[what]
    arguments = {
        (each["file"], each["change"].strip()): each["because"]
        for each in tomllib.loads(ARGUMENTS.read_text()).get(what, ())
    }
    mutants = subject.mutants(only)
    assert mutants, f"Nothing to change in files whose path contains {only!r}."
    stale = arguments.keys() - {mutant.key for mutant in mutants}
    if sample != "all":
        mutants = sorted(random.Random(seed).sample(mutants, min(int(sample), len(mutants))))
    survived = sorted(survivors(mutants, subject.tests))
    noticed = {mutant.key for mutant in mutants} - {mutant.key for mutant in survived}

    for mutant in survived:
        print(f"\n{mutant.path.relative_to(ROOT)}:{mutant.line}\n{mutant.change}")
        if because := arguments.get(mutant.key):
            print(f"  Equivalent: {because}")
    for file, change in sorted(arguments.keys() & noticed):
        print(f"\nCalled equivalent, yet a test notices it: {file}\n{change}")
    for file, change in sorted(stale) if not only else ():
        print(f"\nAn argument that fits no change any more: {file}\n{change}")
    _print_table(mutants, survived, [mutant for mutant in survived if mutant.key in arguments])
    sys.exit(100 * len(survived) > (100 - ENOUGH) * len(mutants))


def _print_table(mutants: list[Mutant], survived: list[Mutant], argued: list[Mutant]) -> None:
    by_file = [Counter(str(each.path.relative_to(ROOT)) for each in these) for these in (mutants, survived, argued)]
    all_files = [Counter({"in all": count.total()}) for count in by_file]
    print(f"\n{'':52}changes  noticed     %  survived  of these called equivalent")
    for changes, survivors_, equivalent in (by_file, all_files):
        for file, count in changes.items():
            noticed = count - survivors_[file]
            share = 100 * noticed / count
            print(f"{file:52}{count:7}{noticed:9}{share:6.1f}{survivors_[file]:10}{equivalent[file]:10}")


if __name__ == "__main__":
    typer.run(main)
