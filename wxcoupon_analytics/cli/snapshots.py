"""What cron runs at night: ``wxcoupon fetch``."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import wxcoupon_analytics as wx
from wxcoupon_analytics.cli.connection import Hosts, Json, connect
from wxcoupon_analytics.cli.files import read_openids
from wxcoupon_analytics.cli.outcomes import INCOMPLETE

_COLUMNS = ("entity", "rows", "taken_at", "path", "complete")


def _no_file(store: str) -> str:
    if not store.strip():
        raise typer.BadParameter("the name is empty: name the folder in which the snapshots lie")
    if Path(store).is_file():
        raise typer.BadParameter(f"{store} is a file: name the folder in which the snapshots lie")
    return store


Store = Annotated[
    str,
    typer.Option(help="Where the snapshots lie: a folder, or a URI such as s3://bucket/coupons.", callback=_no_file),
]


def fetch(
    store: Store = "data",
    product_coupon_id: Annotated[
        list[str] | None,
        typer.Option(
            help="A product coupon to fetch, with its stocks; may be repeated. Default: those in the store.",
            metavar="ID",
        ),
    ] = None,
    openids: Annotated[
        Path | None,
        typer.Option(
            help="CSV or Parquet file with a column openid: whose coupons to fetch. Default: the store's users."
        ),
    ] = None,
    appid: Annotated[str | None, typer.Option(help="The app the openids belong to.")] = None,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Of the store's users, ask only for those whose coupons can have changed.")
    ] = False,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Leave out users whose question fails, instead of ending at the first.")
    ] = False,
    host: Hosts = None,
    as_json: Json = False,
) -> None:
    """Take a snapshot of product coupons, stocks and users' coupons.

    The first time, name the product coupons and the users: no endpoint lists them. From then on the store knows them. What
    is interrupted goes on where it was when the same command is given again.

    Example: wxcoupon fetch --store data --product-coupon-id 1000000013 --openids customers.csv --appid wx233544546545989

    Example: wxcoupon fetch --store data

    Example: wxcoupon fetch --store data --refresh --appid wx233544546545989 --json
    """
    if refresh and (openids is not None or appid is None):
        raise typer.BadParameter(
            "it asks for the store's own users of one app: give --appid, and no --openids", param_hint="--refresh"
        )
    if openids is not None and appid is None:
        raise typer.BadParameter("an openid is valid under one app only: give --appid", param_hint="--openids")
    users = None if openids is None else read_openids(openids)
    on_error: Literal["raise", "collect"] = "collect" if keep_going else "raise"
    with connect(host) as client:
        kept = wx.SnapshotStore(store)
        ids = product_coupon_id or _known_ids(client, kept)
        if refresh and appid is not None:
            saved = _refresh(client, kept, ids, appid, on_error)
        else:
            frame = client.fetch.snapshot(kept, product_coupon_ids=ids, openids=users, appid=appid, on_error=on_error)
            saved = [
                _row(*values) for values in frame.astype(object).where(frame.notna(), None).itertuples(index=False)
            ]
    if as_json:
        typer.echo(json.dumps(saved, default=datetime.isoformat))
    else:
        for row in saved:
            place = row["path"] or "nothing new"
            typer.echo(f"{row['entity']:<16} {row['rows']:>12,} rows  {row['taken_at']:%Y-%m-%d %H:%M:%S}  {place}")
    if not all(row["complete"] for row in saved):
        typer.echo("incomplete: the questions of some users failed; give the command again", err=True)
        raise typer.Exit(INCOMPLETE)


def _known_ids(client: wx.Client, store: wx.SnapshotStore) -> list[str]:
    from wxcoupon_analytics.fetch.known import product_coupons_of

    try:
        return product_coupons_of(client.credentials.brand_id, store)
    except wx.ValidationError:
        raise wx.ValidationError(
            "the store knows of no product coupons yet: the first time, name them with --product-coupon-id"
        ) from None


def _refresh(
    client: wx.Client, store: wx.SnapshotStore, ids: list[str], appid: str, on_error: Literal["raise", "collect"]
) -> list[dict[str, Any]]:
    """Save product coupons and stocks in full, and of users' coupons what can have changed."""
    saved: list[dict[str, Any]] = []
    for entity, frame in (("product_coupons", client.fetch.product_coupons(ids)), ("stocks", client.fetch.stocks(ids))):
        kept = store.save(entity, frame)
        saved.append(_row(entity, kept.rows, kept.taken_at, str(kept.path), True))
    fetched = client.fetch.refresh(store, appid=appid, on_error=on_error)
    return [*saved, _row("user_coupons", fetched.coupons, fetched.ended_at, fetched.path, fetched.complete)]


def _row(*values: object) -> dict[str, Any]:
    return dict(zip(_COLUMNS, values, strict=True))
