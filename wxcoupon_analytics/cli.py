"""The command line: ``wxcoupon demo`` and ``wxcoupon doctor``."""

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


@app.command()
def doctor(
    host: Annotated[
        list[str] | None, typer.Option(help="A host to check instead of the platform's two; may be repeated.")
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option(help="Your API certificate (apiclient_cert.pem), to hold key and serial number against."),
    ] = None,
    product_coupon_id: Annotated[
        str | None, typer.Option(help="A product coupon to read; default: one that does not exist.")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds for each connection and answer.")] = 10.0,
) -> None:
    """Check credentials, clock, network and signatures, and say what to do about each failure.

    Reads the credentials as Credentials.load does. Changes nothing, prints nothing secret; exit status 0 if all is well.

    Example: wxcoupon doctor --certificate apiclient_cert.pem
    """
    from wxcoupon_analytics.client import HOSTS
    from wxcoupon_analytics.doctor import render, run_checks

    checks = run_checks(
        wx.Credentials.load,
        host or HOSTS,
        timeout=timeout,
        certificate=certificate,
        product_coupon_id=product_coupon_id,
    )
    typer.echo(render(checks))
    raise typer.Exit(0 if all(check.ok for check in checks) else 1)
