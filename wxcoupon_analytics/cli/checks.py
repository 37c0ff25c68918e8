"""Why it does not work: ``wxcoupon doctor``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

import wxcoupon_analytics as wx
from wxcoupon_analytics.cli.connection import Hosts, Json
from wxcoupon_analytics.cli.outcomes import FAILED


def doctor(
    host: Hosts = None,
    certificate: Annotated[
        Path | None,
        typer.Option(help="Your API certificate (apiclient_cert.pem), to hold key and serial number against."),
    ] = None,
    product_coupon_id: Annotated[
        str | None, typer.Option(help="A product coupon to read; default: one that does not exist.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for each connection and answer.")] = 10.0,
    as_json: Json = False,
) -> None:
    """Check credentials, clock, network and signatures.

    Says what to do about each failure. Changes nothing, prints nothing secret; exit status 0 if all is well, else 1.

    Example: wxcoupon doctor --certificate apiclient_cert.pem

    Example: wxcoupon doctor --json | jq '.[] | select(.ok == false)'
    """
    from wxcoupon_analytics.doctor import render, run_checks

    checks = run_checks(
        wx.Credentials.load, host, timeout=timeout, certificate=certificate, product_coupon_id=product_coupon_id
    )
    typer.echo(json.dumps([asdict(check) for check in checks]) if as_json else render(checks))
    raise typer.Exit(0 if all(check.ok for check in checks) else FAILED)
