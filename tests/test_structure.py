"""What holds for the package as a whole: its public names, and imports that point one way."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

import wxcoupon_analytics as wx
from wxcoupon_analytics.cli import app
from wxcoupon_analytics.errors import HINTS

PACKAGE = Path(wx.__file__).parent

# What each part may import of ours; what is not named here may import anything.
ALLOWED = {
    "errors": set(),
    "credentials": {"errors"},
    "wire": {"errors", "credentials", "wire"},
    "entities": {"errors", "entities"},
    "metrics": {"errors", "metrics"},
    "snapshots": {"errors", "entities", "snapshots"},
    "loop": set(),
    "fetch": {"errors", "entities", "wire", "loop", "progress", "snapshots", "fetch"},
    "progress": set(),
    "exports": {"errors", "entities", "metrics", "exports"},
    "plots": {"metrics", "fonts", "drawing", "words", "plots"},
    "report": {"errors", "entities", "metrics", "snapshots", "exports", "plots", "words", "report"},
    "words": {"errors"},
    "drawing": {"errors", "metrics", "fonts", "words"},
}
# The server side of the embedded brand shares nothing with the client, or one mistake would hide in both.
SANDBOX_FACADE = {"__init__", "process", "sharing"}


def imported(path: Path) -> set[str]:
    """Names of our own modules a file imports, by their first part."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if (
            isinstance(node, ast.ImportFrom)
            and node.level == 0
            and (node.module or "").startswith("wxcoupon_analytics")
        ):
            rest = (node.module or "").split(".")[1:]
            found |= {rest[0]} if rest else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("wxcoupon_analytics.")}
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: relative import"
    return found


@pytest.mark.parametrize("part", ALLOWED)
def test_imports_point_downwards(part: str):
    files = sorted((PACKAGE / part).rglob("*.py")) if (PACKAGE / part).is_dir() else [PACKAGE / f"{part}.py"]
    assert files
    for file in files:
        assert imported(file) <= ALLOWED[part], file.name


def test_the_embedded_brand_shares_no_code_with_the_client():
    for file in sorted((PACKAGE / "sandbox").glob("*.py")):
        if file.stem not in SANDBOX_FACADE:
            assert imported(file) <= {"sandbox"}, file.name


def test_every_public_name_is_there_documented_and_the_module_says_so():
    assert {
        "connect",
        "Credentials",
        "SnapshotStore",
        "Sandbox",
        "flatten",
        "budget_use",
        "remaining_daily_quota",
    } <= set(wx.__all__)
    for name in wx.__all__:
        assert getattr(wx, name).__doc__, name
    assert set(wx.__all__) <= set(dir(wx))
    with pytest.raises(AttributeError):
        wx.no_such_name  # noqa: B018


def test_importing_costs_nothing_heavy():
    code = "import sys, wxcoupon_analytics; print(*(m for m in ('pandas','pyarrow','matplotlib','duckdb','httpx') if m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""


COMMANDS = sorted(get_command(app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented(name: str):
    """In the README, with what each option is for, its exit status, and examples that the command line accepts."""
    command = get_command(app).commands[name]  # type: ignore[attr-defined]
    assert f"wxcoupon {name}" in (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    assert command.epilog.startswith("Exit status: ")
    for parameter in command.params:
        assert parameter.help, parameter.name
        assert parameter.help.endswith("."), parameter.name
    paragraphs = [" ".join(text.split()) for text in command.help.split("\n\n")]
    found = [re.match(r"Example: (?:\w+=\S+ )?wxcoupon (\w+)(.*)", text) for text in paragraphs]
    examples = [match.groups() for match in found if match]
    assert name in [named for named, _ in examples]
    for named, arguments in examples:
        parts = shlex.split(arguments.partition(" | ")[0])
        get_command(app).commands[named].make_context(named, parts)  # type: ignore[attr-defined]


def test_the_readme_has_every_hint_and_every_metric():
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    for code, hint in HINTS.items():
        assert f"| {code} | {hint} |" in readme
    for name in wx.__all__:
        if getattr(wx, name).__module__.startswith("wxcoupon_analytics.metrics"):
            assert f"`{name}(" in readme, name
