"""What the command line says of itself, and how a command ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest
from typer.main import get_command

import wxcoupon_analytics as wx
from tests.cli.commands import run
from wxcoupon_analytics.cli import app

COMMANDS = get_command(app).commands  # type: ignore[attr-defined]

LONG_QUERY = """
import duckdb, typer
from wxcoupon_analytics.cli.outcomes import Commands
app = typer.Typer(cls=Commands)
app.callback()(lambda: None)
@app.command()
def query():
    print("begun", flush=True)
    duckdb.sql("SET threads = 1")  # else the main thread, which hears of Ctrl-C, may wait for another one
    duckdb.sql("SELECT sum(sqrt(i)) FROM range(1_000_000_000_000) t(i)").fetchall()
app()
"""


def test_help_and_version():
    assert run("--version").output.strip() == wx.__version__
    for arguments in (["--help"], ["demo", "--help"]):
        result = run(*arguments)
        assert result.exit_code == 0
        assert "demo" in result.output


def test_the_list_of_commands_has_a_whole_sentence_for_each():
    listed = run("--help").output.partition("Commands:\n")[2].splitlines()
    for name, command in COMMANDS.items():
        first = " ".join(command.help.partition("\n\n")[0].split())
        assert f"  {name:<9}{first.removesuffix('.')}" in [line.removesuffix(".") for line in listed]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_narrow_terminal_shows_every_option_whole(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "40")
    words = run(name, "--help").output.split()
    for parameter in COMMANDS[name].params:
        for option in (*parameter.opts, *parameter.secondary_opts):
            if option.startswith("--"):
                assert option in words


def test_wrong_usage_is_a_line_that_a_log_can_hold():
    for arguments, says in (
        (["frobnicate"], "No such command 'frobnicate'."),
        (["fetch", "--stroe", "x"], "No such option: --stroe"),
        (["send", "users.csv"], "Missing option '--campaign'"),
    ):
        result = run(*arguments)
        assert result.exit_code == 2
        assert result.stdout == ""
        assert result.stderr.splitlines()[-1].startswith(f"Error: {says}")


def test_ctrl_c_amid_a_query_is_an_interruption():
    with subprocess.Popen(
        [sys.executable, "-c", LONG_QUERY, "query"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as asking:
        assert asking.stdout is not None
        try:
            assert asking.stdout.readline() == "begun\n"
            time.sleep(1)  # by now it is DuckDB that is at work
            asking.send_signal(signal.SIGINT)
            _, complained = asking.communicate(timeout=120)
        finally:
            asking.kill()
    assert asking.returncode == 130, complained
    assert "Traceback" not in complained
