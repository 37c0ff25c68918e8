"""JupyterLab on the notebooks: ``wxcoupon lab``."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Final

import typer

import wxcoupon_analytics as wx
from wxcoupon_analytics.cli.brand import Seed

_FIRST: Final = "01_explore_campaign.ipynb"


def lab(
    jupyter_options: Annotated[
        list[str] | None, typer.Argument(help="Further options of JupyterLab, after --.", metavar="-- OPTIONS")
    ] = None,
    to: Annotated[
        Path, typer.Option(help="Folder to work in; notebooks that are there already are left as they are.")
    ] = Path("data/lab"),
    sandbox: Annotated[
        bool, typer.Option(help="Serve the embedded brand to the notebooks, or let them use your own configuration.")
    ] = True,
    seed: Seed = 7,
    browser: Annotated[bool, typer.Option(help="Open a browser, or only print the address.")] = True,
) -> None:
    """Open JupyterLab on three notebooks, with the embedded brand.

    01 explores a campaign, 02 makes the weekly report, 03 sends to a target group. They are copied into the folder, where
    they are yours to edit. The brand, its journal and what was sent live until the lab ends.

    Example: wxcoupon lab --to data/lab

    Example: wxcoupon lab --no-browser -- --port 8890
    """
    from wxcoupon_analytics.sandbox.sharing import publish, serve_now

    if importlib.util.find_spec("jupyterlab") is None:
        raise wx.WxCouponError("JupyterLab is not installed: pip install 'wxcoupon-analytics[lab]'")
    copy_notebooks(to)
    environment = dict(os.environ)
    with ExitStack() as stack:
        if sandbox:
            box = stack.enter_context(serve_now(seed=seed))
            # Keys of a real brand have no place beside the toy's.
            environment = {name: value for name, value in environment.items() if not name.startswith("WXCOUPON_")}
            environment["WXCOUPON_CONFIG"] = str(publish(box, to / ".sandbox").resolve())
        elif config := environment.get("WXCOUPON_CONFIG"):
            environment["WXCOUPON_CONFIG"] = str(
                Path(config).expanduser().resolve()
            )  # notebooks run in their own folder
        command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={to.resolve()}"]
        command += [f"--LabApp.default_url=/lab/tree/{_FIRST}", *([] if browser else ["--no-browser"])]
        raise typer.Exit(_run([*command, *(jupyter_options or [])], environment))


def copy_notebooks(to: Path) -> None:
    """Put the notebooks into a folder; what is there already may have been edited, and stays."""
    to.mkdir(parents=True, exist_ok=True)
    for notebook in sorted(notebooks_folder().glob("*.ipynb")):
        copy = to / notebook.name
        if copy.exists():
            typer.echo(f"{copy} is there already and stays as it is")
        else:
            shutil.copyfile(notebook, copy)


def notebooks_folder() -> Path:
    """Find the notebooks: inside an installed package, beside the package in a checkout."""
    package = Path(wx.__file__).parent
    return next(
        folder for folder in (package / "notebooks", package.parent / "notebooks") if (folder / _FIRST).is_file()
    )


def _run(command: list[str], environment: dict[str, str]) -> int:
    """Run JupyterLab to its end. Ctrl-C is its own to answer: it asks whether to shut down."""
    process = subprocess.Popen(command, env=environment)  # noqa: S603 - our own Python, our own arguments
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: process.terminate()),
    }
    try:
        return process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
