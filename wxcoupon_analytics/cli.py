"""The command line: ``wxcoupon demo``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import wxcoupon_analytics as wx

app = typer.Typer(
    name="wxcoupon",
    help="WeChat Pay product coupons: signed API, frames, Parquet snapshots, numbers you can trust.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # its tracebacks print local variables, and one of those may be a key
)


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
    """WeChat Pay product coupons: signed API, frames, Parquet snapshots, numbers you can trust."""


@app.command()
def demo(
    to: Annotated[
        Path, typer.Option(help="Folder for the snapshots and plots; made, or emptied if an earlier demo made it.")
    ] = Path("data/demo"),
    seed: Annotated[int, typer.Option(help="Which embedded brand: the same seed has the same history.")] = 7,
) -> None:
    """Show the whole line on an embedded brand: no credentials, nothing leaves this machine.

    Starts a local server that speaks the WeChat Pay product-coupon API, takes three daily snapshots over signed HTTP, works
    out budget use, remaining quota and coupon states, sends a coupon and deactivates a stock.

    Example: wxcoupon demo --to data/demo
    """
    from wxcoupon_analytics.demo import run

    try:
        # Into a file or a CI log, tables are not cut to the 80 columns of a terminal that is not there.
        run(to, seed=seed, console=Console(width=None if sys.stdout.isatty() else 120))
    except wx.WxCouponError as error:
        typer.echo(f"{type(error).__name__}: {error}", err=True)
        raise typer.Exit(1) from None
