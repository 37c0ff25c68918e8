"""How a test gives a command: inside this process, or as a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

from typer.testing import CliRunner, Result

from wxcoupon_analytics.cli import app

COMMAND = [sys.executable, "-c", "from wxcoupon_analytics.cli import app; app()"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def users(path: Path, openids: list[str]) -> Path:
    path.write_text("\n".join(["openid", *openids]) + "\n", encoding="utf-8")
    return path
