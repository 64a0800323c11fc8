"""The places where a source can be changed, and what stands there instead.

A comparison moves its edge or is turned round, ``and`` and ``or`` change places, a ``not`` goes, a condition is
negated, a sign is turned round, a number is one more. Type annotations, decorators and examples for
readers stay as they are.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

COMPARISONS: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: (r"is\s+not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: (r"not\s+in", "in"),
}
SIGNS: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: (r"\+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: (r"\*", "//"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "*"),
}
SPARED = ("annotation", "returns", "decorator_list")
CERTAIN = (ast.Eq, ast.NotEq, ast.Is, ast.IsNot, ast.In, ast.NotIn)

Place = tuple[int, int]  # a line, from 1, and a column in bytes


class Mutant(NamedTuple):
    """A source with one change."""

    path: Path
    line: int  # where the change begins
    statement: tuple[
        int, int
    ]  # the lines of the statement that was changed, or of its head: the first and the last
    source: str
    change: str  # the lines that differ, as "- before" and "+ after", without their indentation

    @property
    def lines(self) -> list[tuple[str, int]]:
        """The lines of the statement, with their file."""
        return [(str(self.path), line) for line in range(self.statement[0], self.statement[1] + 1)]

    @property
    def key(self) -> tuple[str, str]:
        """What stays the same when lines move, or a file moves to another folder."""
        return self.path.name, self.change


def mutants_of(path: Path) -> list[Mutant]:
    """Every mutant of a file, from top to bottom."""
    source = path.read_text()
    mutants = []
    for statement, start, end, instead in _changes(ast.parse(source), (0, 0)):
        mutated = _replaced(source, start, end, instead)
        mutants.append(Mutant(path, start[0], statement, mutated, _change(source, mutated)))
    return mutants


def _changes(node: ast.AST, statement: tuple[int, int]) -> Iterator[tuple[tuple[int, int], Place, Place, str]]:
    """The lines of the statement, where the change begins and ends, and "a pattern→what stands in its place"."""
    if isinstance(node, ast.stmt):
        body = getattr(node, "body", None)
        last = body[0].lineno - 1 if body else _end(node)[0]
        statement = (node.lineno, max(node.lineno, last))
    for start, end, instead in _changed(node):
        yield statement, start, end, instead
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and name not in SPARED and getattr(child, "arg", None) != "example":
                yield from _changes(child, statement)


def _changed(node: ast.AST) -> Iterator[tuple[Place, Place, str]]:
    match node:
        case ast.Compare():
            terms = [node.left, *node.comparators]
            for operator, left, right in zip(node.ops, terms, terms[1:], strict=False):
                old, new = COMPARISONS[type(operator)]
                yield _end(left), _start(right), f"{old}→{new}"
        case ast.BoolOp():
            swap = r"\band\b→or" if isinstance(node.op, ast.And) else r"\bor\b→and"
            for left, right in zip(node.values, node.values[1:], strict=False):
                yield _end(left), _start(right), swap
        case ast.BinOp() if type(node.op) in SIGNS:
            old, new = SIGNS[type(node.op)]
            yield _end(node.left), _start(node.right), f"{old}→{new}"
        case ast.AugAssign() if type(node.op) in SIGNS:
            old, new = SIGNS[type(node.op)]
            yield _end(node.target), _start(node.value), f"{old}→{new}"
        case ast.UnaryOp(op=ast.Not()):
            yield _start(node), _start(node.operand), r"not\s*→"
        case ast.UnaryOp(op=ast.USub()):
            yield _start(node), _start(node.operand), "-→"
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            yield _start(node), _end(node), f".+→{number + 1}"
        case ast.If() | ast.While() | ast.IfExp() | ast.Assert():
            yield from _negated(node.test)
        case ast.comprehension():
            for condition in node.ifs:
                yield from _negated(condition)
        case ast.match_case(guard=ast.expr() as guard):
            yield from _negated(guard)


def _negated(condition: ast.expr) -> Iterator[tuple[Place, Place, str]]:
    """What its own operator negates already is left out."""
    if isinstance(condition, ast.UnaryOp) and isinstance(condition.op, ast.Not):
        return
    if isinstance(condition, ast.Compare) and isinstance(condition.ops[0], CERTAIN):
        return
    yield _start(condition), _end(condition), r"(?s)(.+)→not (\1)"


def _start(node: ast.expr | ast.stmt) -> Place:
    return node.lineno, node.col_offset


def _end(node: ast.expr | ast.stmt) -> Place:
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    return node.end_lineno, node.end_col_offset


def _replaced(source: str, start: Place, end: Place, instead: str) -> str:
    lines = source.encode().splitlines(keepends=True)
    first, last = (sum(map(len, lines[: line - 1])) + column for line, column in (start, end))
    whole = source.encode()
    old, new = instead.split("→")
    changed, count = re.subn(old, new, whole[first:last].decode(), count=1)
    assert count == 1, (start, instead)
    return (whole[:first] + changed.encode() + whole[last:]).decode()


def _change(before: str, after: str) -> str:
    pairs = list(zip(before.splitlines(), after.splitlines(), strict=True))
    removed = [f"- {old.strip()}" for old, new in pairs if old != new]
    added = [f"+ {new.strip()}" for old, new in pairs if old != new]
    return "\n".join([*removed, *added])
