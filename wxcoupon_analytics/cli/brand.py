"""What needs no credentials: the embedded brand, shown or served."""

from __future__ import annotations

import json
import shlex
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from wxcoupon_analytics.cli.connection import Json

Seed = Annotated[int, typer.Option(help="Which embedded brand: the same seed has the same history.")]


def demo(
    to: Annotated[
        Path, typer.Option(help="Folder for the snapshots and plots; made, or emptied if an earlier demo made it.")
    ] = Path("data/demo"),
    seed: Seed = 7,
) -> None:
    """Show everything once, on an embedded brand.

    Needs no credentials, and nothing leaves this machine: it starts a local server that speaks the WeChat Pay product-coupon
    API, takes three daily snapshots over signed HTTP, works out budget use, remaining quota and coupon states, sends a coupon
    and deactivates a stock. About a minute.

    Example: wxcoupon demo --to data/demo
    """
    from wxcoupon_analytics.demo import run

    # Into a file or a CI log, tables are not cut to the 80 columns of a terminal that is not there.
    run(to, seed=seed, console=Console(width=None if sys.stdout.isatty() else 120))


def sandbox(
    to: Annotated[Path, typer.Option(help="Folder for the files by which commands and notebooks find it.")] = Path(
        "data/sandbox"
    ),
    seed: Seed = 7,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="The port on 127.0.0.1; 0 takes a free one.")] = 0,
    as_json: Json = False,
) -> None:
    """Serve the embedded brand until Ctrl-C.

    It is there for other commands, notebooks, and programs in any language. Its business time is the present; four weeks of
    history lie behind it. Commands and notebooks use it when WXCOUPON_CONFIG names the file wxcoupon.toml of the folder;
    customers.csv beside it has the openids of its users.

    Example: wxcoupon sandbox --to data/sandbox

    Example: WXCOUPON_CONFIG=data/sandbox/wxcoupon.toml wxcoupon doctor
    """
    from wxcoupon_analytics.sandbox.sharing import publish, serve_now

    with serve_now(seed=seed, port=port) as box:
        config = publish(box, to)
        customers = to / "customers.csv"
        customers.write_text("\n".join(["openid", *box.openids()]) + "\n", encoding="utf-8")
        found = {
            "hosts": list(box.hosts),
            "config": str(config.resolve()),
            "appid": box.appid,
            "product_coupon_ids": box.truth("product_coupons")["product_coupon_id"].tolist(),
            "customers": str(customers.resolve()),
        }
        typer.echo(json.dumps(found) if as_json else _welcome(found))
        sys.stdout.flush()
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            return


def _welcome(found: dict[str, Any]) -> str:
    ids = " ".join(f"--product-coupon-id {coupon}" for coupon in found["product_coupon_ids"])
    return "\n".join(
        [
            f"The embedded brand listens on {found['hosts'][0]} until Ctrl-C. In another terminal:",
            "",
            f"  export WXCOUPON_CONFIG={shlex.quote(found['config'])}",
            "  wxcoupon doctor",
            f"  wxcoupon fetch --store data/from-sandbox --appid {found['appid']} \\",
            f"      --openids {shlex.quote(found['customers'])} \\",
            f"      {ids}",
        ]
    )
