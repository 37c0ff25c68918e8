"""The real JupyterLab, started as a user starts it, and a headless Chromium in front of it."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
STARTS_WITHIN = 90


class Lab:
    """A running ``wxcoupon lab``: where it is, what it works in, and what it said."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url, self.folder = url, folder

    def address(self, notebook: str) -> str:
        """Where a notebook opens, in an application without anything else open."""
        server, _, token = self._url.partition("/lab?")
        return f"{server}/lab/tree/{notebook}?reset&{token}"


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    home = tmp_path_factory.mktemp("home")
    folder, log = home / "work", home / "lab.log"
    settings = home / "settings" / "@jupyterlab" / "notebook-extension"
    settings.mkdir(parents=True)
    # All cells are to be in the page at once, so that all can be looked at.
    (settings / "tracker.jupyterlab-settings").write_text(json.dumps({"windowingMode": "none"}))
    quiet = home / "config" / "labconfig"
    quiet.mkdir(parents=True)
    asks_about_news = "@jupyterlab/apputils-extension:announcements"
    (quiet / "page_config.json").write_text(json.dumps({"disabledExtensions": {asks_about_news: True}}))
    environment = os.environ | {
        "HOME": str(home),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "IPYTHONDIR": str(home / "ipython"),
        "PYTHONUNBUFFERED": "1",
    }
    command = [sys.executable, "-c", "from wxcoupon_analytics.cli import app; app()"]
    command += ["lab", "--no-browser", "--to", str(folder), "--", "--allow-root"]
    with log.open("w") as said:
        process = subprocess.Popen(command, env=environment, cwd=home, stdout=said, stderr=said)
        try:
            yield Lab(_address(process, log), folder)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < deadline and process.poll() is None:
        found = re.search(r"(http://(?:localhost|127\.0\.0\.1):\d+/lab)\S*\?(token=\w+)", log.read_text())
        if found:
            return f"{found[1]}?{found[2]}"
        time.sleep(0.2)
    raise AssertionError(f"JupyterLab did not start:\n{log.read_text()}")


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    if CHROMIUM is None:
        pytest.skip("there is no chromium here: apt-get install chromium")
    fonts = tmp_path_factory.mktemp("share") / "fonts"
    carried = importlib.util.find_spec("zhplot")
    assert carried is not None
    # The page's own Chinese needs a font too, and a bare machine has none: the one that the plots use.
    fonts.symlink_to(Path(str((carried.submodule_search_locations or [])[0]), "fonts"))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=FLAGS, env={**os.environ, "XDG_DATA_HOME": str(fonts.parent)}
        )
        yield browser
        browser.close()
