"""What is shipped beside the code: the compose file, the image, the Makefile, the documentation."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import yaml
from typer.main import get_group
from typer.testing import CliRunner

from api.cli import app
from api.http.problems import PROBLEMS
from domain.kernel import Command, RefusalCode
from domain.order.deadlines import DeadlineKind, DeadlineState
from domain.order.decisions import table
from domain.order.events import ComplaintFinding, HoldKind, OrderEvent, ShipByReason
from domain.order.state import Status
from domain.sku import decisions as sku_decisions
from infrastructure.runtime.settings import KNOWN

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))


def test_compose_has_the_database_the_api_and_the_worker_each_with_a_health_check(compose: Any) -> None:
    services = compose["services"]
    assert {"database", "api", "worker"} <= services.keys()
    for name in ("database", "api", "worker"):
        assert services[name]["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL"), name


def test_every_command_in_compose_is_one_of_ours(compose: Any) -> None:
    ours = {name: service for name, service in compose["services"].items() if service.get("build")}
    assert set(ours) == {"api", "migrate", "worker"}
    for name, service in ours.items():
        shown = CliRunner().invoke(app, [*service["command"], "--help"])
        assert shown.exit_code == 0, (name, shown.output)


def test_every_variable_in_compose_is_a_setting(compose: Any) -> None:
    for service in compose["services"].values():
        ours = {name for name in service.get("environment", {}) if name.startswith("SHIPLOCK_")}
        assert ours <= set(KNOWN)


def test_what_a_service_waits_for_exists_and_can_become_so(compose: Any) -> None:
    services = compose["services"]
    for service in services.values():
        for needed, how in service.get("depends_on", {}).items():
            assert needed in services
            assert how["condition"] in ("service_healthy", "service_completed_successfully")
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[needed]


def test_the_health_checks_own_program_compiles(compose: Any) -> None:
    _, python, flag, program = compose["services"]["api"]["healthcheck"]["test"]
    assert (python, flag) == ("python", "-c")
    compile(program, "healthcheck", "exec")


def test_everything_the_image_copies_exists() -> None:
    for line in (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines():
        if line.startswith("COPY"):
            for source in line.split()[1:-1]:
                assert (ROOT / source).exists(), source


def test_the_locks_hold_every_dependency_and_no_registry() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert "psycopg==" in text
        assert "--hash=sha256:" in text
        assert "://" not in text


def test_every_problem_event_and_setting_is_documented() -> None:
    problems = (ROOT / "docs/reference/problems.md").read_text(encoding="utf-8")
    for code, kind in PROBLEMS.items():
        assert f"| `{code}` | {kind.status} | {kind.title} | {kind.advice} |" in problems, code
    events = (ROOT / "docs/reference/events.md").read_text(encoding="utf-8")
    for event in get_args(OrderEvent):
        fields = ", ".join(f"`{field.name}`" for field in msgspec.structs.fields(event))
        assert f"| `{event.__name__}` | {fields or '-'} |" in events, event.__name__
    settings = (ROOT / "docs/reference/command-line.md").read_text(encoding="utf-8")
    for setting in KNOWN:
        assert f"`{setting}`" in settings, setting


def test_every_action_status_and_deadline_is_documented() -> None:
    page = (ROOT / "docs/reference/actions.md").read_text(encoding="utf-8")
    unlinked = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", page)
    for name, action in table.ACTIONS.items():
        codes = ", ".join(f"`{code}`" for code in action.refusals) or "-"
        assert f"\n| `{name}` | {_fields(action.command)} | {action.summary} | {codes} |\n" in unlinked, name
        assert f"\n{name} {json.dumps(action.example, ensure_ascii=False)}\n" in page, name
    for name, of_sku in sku_decisions.ACTIONS.items():
        assert f"\n| `{name}` | {_fields(of_sku.command)} | {of_sku.summary} |\n" in unlinked, name
        assert f"\n{name} {json.dumps(of_sku.example, ensure_ascii=False)}\n" in page, name
    for code in {*table.COMMON_REFUSALS, *sku_decisions.COMMON_REFUSALS}:
        assert f"`{code}`" in page.partition("## Of an order")[0], code
    for name in get_args(Status) + get_args(HoldKind) + get_args(DeadlineKind) + get_args(DeadlineState):
        assert f"\n| `{name}` | " in page, name
    for name in get_args(ComplaintFinding) + get_args(ShipByReason):
        assert f"`{name}`" in page, name


def _fields(command: type[Command]) -> str:
    common = {field.name for field in msgspec.structs.fields(Command)}
    own = [field for field in msgspec.structs.fields(command) if field.name not in common]
    return ", ".join(f"`{field.name}{'' if field.required else '?'}`" for field in own) or "-"


def test_every_refusal_is_a_problem() -> None:
    assert set(get_args(RefusalCode)) <= set(PROBLEMS)


def test_every_link_in_the_documentation_leads_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_room_of_the_code_has_a_sentence_and_no_other() -> None:
    """The tree in CONTRIBUTING.md names each folder of a layer, and each file that stands beside the folders."""
    tree = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## The rooms")[2].split("```")[1]
    layers: dict[str, set[str]] = {}
    layer = ""
    for line in tree.strip().splitlines():
        name, _, sentence = line.strip().partition(" ")
        assert sentence.strip() or name == "api/", line
        if line.startswith(" "):
            layers[layer].add(name)
        else:
            layer = name
            layers[layer] = set()
    for layer in ("domain/", "infrastructure/", "api/"):
        rooms = {f"{place.name}/" for place in (ROOT / layer).iterdir() if (place / "__init__.py").exists()}
        files = {place.name for place in (ROOT / layer).glob("*.py") if place.name != "__init__.py"}
        assert layers[layer] == rooms | files


def test_every_command_line_shown_in_the_documentation_is_known() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        shown = re.findall(r"^(?:\$ )?shiplock (.+)|`[^`\n]*\bshiplock ([^`\n]+)`", text, re.MULTILINE)
        for line in (in_block or in_text for in_block, in_text in shown):
            assert unknown_in(line) is None, f"{page.name}: {line}"


def test_every_command_line_of_the_reference_is_known() -> None:
    text = (ROOT / "docs/reference/command-line.md").read_text(encoding="utf-8").partition("| setting |")[0]
    rows = re.findall(r"^\| (`.+?`) \|", text, re.MULTILINE)
    listed = [line for row in rows for line in re.findall(r"`([^`]+)`", row) if not line.startswith("--")]
    assert len(listed) > 40
    for line in listed:
        assert unknown_in(line) is None, line


def unknown_in(line: str) -> str | None:
    """The first word of a command line that is no command, or the first option that its command does not have."""
    command: Any = get_group(app)
    words = line.split()
    while hasattr(command, "commands"):
        if not words or words[0] not in command.commands:
            return words[0] if words else ""
        command = command.commands[words.pop(0)]
    known = {"--help"}.union(*([*parameter.opts, *parameter.secondary_opts] for parameter in command.params))
    options = re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", " ".join(words))
    return next((option for option in options if option not in known), None)


def test_a_command_line_that_is_not_known_is_found() -> None:
    assert unknown_in("projections verify 4 --everything") is None
    assert unknown_in("audit export 100000001 --from 1 --to 1000 -o march.jsonl") is None
    assert unknown_in("projections verfy 4") == "verfy"
    assert unknown_in("skus 100000001 --all") == "--all"
    assert unknown_in("audit export 100000001 -x march.jsonl") == "-x"


def test_the_program_needs_nothing_that_only_tests_have() -> None:
    """Importing the whole program pulls in no development dependency."""
    listing = "import api.cli, sys; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run(
        [sys.executable, "-c", listing], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split()
    assert not {"pytest", "hypothesis", "freezegun", "httpx2", "yaml", "Crypto", "mypy"} & set(loaded)
