"""``rules``: the rule sets orders are judged by."""

from typing import Annotated

import msgspec
import typer
from rich.table import Table

from api.cli.terminal import Failed, Json, out, print_json, shown
from infrastructure.rule_sets import shipped_rules

app = typer.Typer(help="The rule sets orders are judged by.", no_args_is_help=True)


@app.command("list")
def list_sets(as_json: Json = False) -> None:
    """Every rule set, by the date from which it is in force."""
    sets = shipped_rules().sets
    if as_json:
        print_json([{"name": s.name, "title": s.title, "effective_from": s.effective_from} for s in sets])
        return
    table = Table("name", "in force from", "title")
    for rules in sets:
        table.add_row(rules.name, shown(rules.effective_from), rules.title)
    out.print(table)


@app.command("show")
def show(
    name: Annotated[str | None, typer.Argument(help="The rule set's name (default: the newest).")] = None,
    as_json: Json = False,
) -> None:
    """One rule set with every figure, its source, and how sure it is."""
    sets = {rules.name: rules for rules in shipped_rules().sets}
    rules = sets.get(name) if name else shipped_rules().sets[-1]
    if rules is None:
        raise Failed(f"There is no rule set {name}; there are {', '.join(sets)}.")
    if as_json:
        print_json(rules)
        return
    out.print(f"[bold]{rules.name}[/]  {rules.title}, in force from {shown(rules.effective_from)}")
    table = Table("rule", "value", "source", "confidence")
    sections = msgspec.to_builtins(rules)
    sections |= {f"penalty.{kind}": penalty for kind, penalty in sections.pop("penalty").items()}
    for section, values in sections.items():
        if not isinstance(values, dict):
            continue
        source, confidence = values.pop("source"), values.pop("confidence")
        said = "\n".join(f"{key}: {_worded(value)}" for key, value in values.items())
        table.add_row(section, said, source, confidence)
    out.print(table)


def _worded(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_worded(inner)}" for key, inner in value.items() if inner is not None)
    if isinstance(value, list | tuple):
        return "; ".join(_worded(inner) for inner in value)
    return str(value)
