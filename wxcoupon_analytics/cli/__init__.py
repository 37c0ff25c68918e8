"""The command line, ``wxcoupon``: what cron and shell scripts run, and what starts the notebooks."""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

import wxcoupon_analytics as wx
from wxcoupon_analytics.cli import brand, checks, lab, reporting, sending, snapshots
from wxcoupon_analytics.cli.outcomes import EXIT_STATUS, Commands

app = typer.Typer(
    name="wxcoupon",
    cls=Commands,
    epilog=EXIT_STATUS,
    rich_markup_mode=None,  # boxes cut the options' names in a narrow terminal, and an error in a cron mail in lines
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # its tracebacks print local variables, and one of those may be a key
)
for command in (snapshots.fetch, reporting.report, sending.send, checks.doctor, brand.sandbox, lab.lab, brand.demo):
    app.command(epilog=EXIT_STATUS)(command)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(wx.__version__)
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """WeChat Pay product coupons: signed API, frames, Parquet snapshots, numbers you can trust.

    Credentials are read as wx.Credentials.load does: from WXCOUPON_* variables, from .env, or from the TOML file that
    WXCOUPON_CONFIG names. Hosts are those of --host, else those that stand beside the credentials (WXCOUPON_HOSTS), else
    WeChat Pay's own two.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a code page without ¥ or Chinese is no reason to end half-way
