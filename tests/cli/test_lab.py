"""``wxcoupon lab``."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.cli.commands import COMMAND
from wxcoupon_analytics.cli.lab import copy_notebooks, notebooks_folder


def test_notebooks_are_copied_and_edits_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    names = sorted(path.name for path in notebooks_folder().glob("*.ipynb"))
    assert names[0] == "01_explore_campaign.ipynb"
    copy_notebooks(tmp_path / "work")
    (tmp_path / "work" / names[0]).write_text("mine")
    (tmp_path / "work" / names[1]).unlink()
    copy_notebooks(tmp_path / "work")
    assert (tmp_path / "work" / names[0]).read_text() == "mine"
    assert sorted(path.name for path in (tmp_path / "work").glob("*.ipynb")) == names
    assert f"{names[0]} is there already and stays as it is" in capsys.readouterr().out


def test_it_starts_jupyterlab_with_the_options_given(tmp_path: Path):
    pytest.importorskip("jupyterlab")
    done = subprocess.run(
        [*COMMAND, "lab", "--no-sandbox", "--no-browser", "--to", tmp_path / "work", "--", "--version"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()[0].isdigit()
