"""``rules``: the rule sets orders are judged by, checking one's own, and what another would have cost."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from api.cli.backtesting import backtest
from api.cli.terminal import CommandFailed, Json, book, out, print_json, shown
from domain.rules.ruleset import RuleSet
from infrastructure.runtime.rule_sets import read_file

app = typer.Typer(help="The rule sets orders are judged by.", no_args_is_help=True)
app.command("backtest")(backtest)

File = Annotated[Path, typer.Argument(metavar="FILE", dir_okay=False, help="A rule set in TOML.")]


@app.command("list")
def list_sets(as_json: Json = False) -> None:
    """Every rule set, by the date from which it is in force."""
    sets = book().sets
    if as_json:
        print_json([{"name": s.name, "title": s.title, "effective_from": s.effective_from} for s in sets])
        return
    table = Table("name", "in force from", "title", "periods")
    for rules in sets:
        table.add_row(rules.name, shown(rules.effective_from), rules.title, str(len(rules.periods) or ""))
    out.print(table)


@app.command("show")
def show(
    name: Annotated[str | None, typer.Argument(help="The rule set's name (default: the newest).")] = None,
    as_json: Json = False,
) -> None:
    """One rule set with every figure, its source, and how sure it is."""
    sets = {rules.name: rules for rules in book().sets}
    rules = sets.get(name) if name else book().sets[-1]
    if rules is None:
        raise CommandFailed(f"There is no rule set {name}; there are {', '.join(sets)}.")
    _show(rules, as_json=as_json)


@app.command("check")
def check(file: File, as_json: Json = False) -> None:
    """Say whether a file is a rule set, and show it; what makes no sense is named with what would be right."""
    _show(read_file(file), as_json=as_json)


def _show(rules: RuleSet, *, as_json: bool) -> None:
    if as_json:
        print_json(rules)
        return
    title = f"  {rules.title}, in force from {shown(rules.effective_from)}"
    out.print(Text.assemble((rules.name, "bold"), title))
    table = Table("rule", "value", "source", "confidence")
    for section, values in _sections(rules).items():
        source, confidence = values.pop("source"), values.pop("confidence")
        text = "\n".join(f"{key}: {_in_words(value)}" for key, value in values.items() if value is not None)
        table.add_row(section, text, source, confidence)
    out.print(table)


def _sections(rules: RuleSet) -> dict[str, dict[str, Any]]:
    """Every part of a rule set that has a source."""
    plain = msgspec.to_builtins(rules)
    sections = {name: values for name, values in plain.items() if isinstance(values, dict) and name != "penalty"}
    sections |= {f"penalty.{kind}": penalty for kind, penalty in plain["penalty"].items()}
    return sections | {f"period {period.pop('name')}": period for period in plain["periods"]}


def _in_words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_in_words(inner)}" for key, inner in value.items() if inner is not None)
    if isinstance(value, list | tuple):
        return "; ".join(_in_words(inner) for inner in value)
    return str(value)
