"""The guided tour: everything the toolkit does, once, on the embedded brand."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

import wxcoupon_analytics as wx

DAYS = 3
_MARKER = ".wxcoupon-demo"


def run(to: Path, *, seed: int, console: Console) -> None:
    """Run the tour, leaving snapshots and plots in ``to``."""
    began = time.monotonic()
    _empty(to)
    say = partial(console.print, soft_wrap=True)
    with wx.Sandbox(seed=seed) as box, box.client() as client:
        say(
            f"[bold]The embedded brand[/bold] listens on {box.hosts[0]}; its clock says {box.now():%Y-%m-%d %H:%M} (Beijing)."
        )
        store = wx.SnapshotStore(to)
        say(f"\n[bold]{DAYS} daily snapshots[/bold] over signed HTTP, every answer verified:")
        ids, openids = box.truth("product_coupons")["product_coupon_id"], box.openids()
        for day in range(DAYS):
            now = box.advance(days=1) if day else box.now()
            saved = client.fetch.snapshot(store, product_coupon_ids=ids, openids=openids, appid=box.appid)
            counts = ", ".join(f"{n:,} {entity}" for entity, n in zip(saved["entity"], saved["rows"], strict=True))
            say(f"  {now:%Y-%m-%d}  {counts}")
            openids = box.openids()
        stocks, coupons = store.load("stocks"), store.load("product_coupons")
        user_coupons = store.load("user_coupons")
        now = client.now()

        _show(console, "What was sent of what may be (budget_use)", _budget_rows(wx.budget_use(stocks, coupons)))
        _show(
            console,
            "What can still be sent today, and which limit binds (remaining_daily_quota)",
            _quota_rows(wx.remaining_daily_quota(stocks, now=now)),
        )
        _show(console, "Where the coupons are (state_breakdown)", _state_rows(wx.state_breakdown(user_coupons)))
        plots = _plots(to, stocks, coupons, user_coupons, now)

        _send(console, box, client, stocks)
        _deactivate(console, client, stocks)
        journal = client.actions.journal()
        rows = {name: journal[name].astype("string") for name in ("operation", "request_no", "status")}
        _show(console, "The journal of what was done (client.actions.journal)", rows)

    say(f"\n[bold]Done in {time.monotonic() - began:.0f} s.[/bold] Everything lies in [green]{to}[/green]:")
    say(
        f"  snapshots  {to}/<entity>/month=…/*.parquet   (pandas.read_parquet, DuckDB and Polars read them as they are)"
    )
    for path in plots:
        say(f"  plot       {path}")
    say("\nNext, in a notebook:\n")
    say(
        "  import wxcoupon_analytics as wx\n"
        f'  store = wx.SnapshotStore("{to}")\n'
        '  wx.budget_use(store.load("stocks"), store.load("product_coupons"))\n'
        '  wx.state_breakdown(store.load("user_coupons"), by="stock_id")\n',
        highlight=False,
        markup=False,
    )
    say("and with your own brand: the README's section “Your own brand”.")


def _empty(to: Path) -> None:
    """Make the folder ours: a new one, or one an earlier demo made."""
    if to.exists() and (not to.is_dir() or (any(to.iterdir()) and not (to / _MARKER).exists())):
        raise wx.ValidationError(f"{to} exists and no demo made it: name another folder with --to")
    if to.exists():
        shutil.rmtree(to)
    to.mkdir(parents=True)
    (to / _MARKER).touch()


def _show(console: Console, title: str, columns: Mapping[str, pd.Series]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="underline")
    texts = {name: ["—" if pd.isna(v) else str(v) for v in column] for name, column in columns.items()}
    for name, column in columns.items():
        table.add_column(name, justify="left" if column.dtype == "string" else "right", no_wrap=True)
    for row in zip(*texts.values(), strict=True):
        table.add_row(*row)
    console.print(f"\n[bold]{title}[/bold]")
    console.print(table)


def _each(column: pd.Series, text: Callable[[object], str]) -> pd.Series:
    return pd.Series([None if pd.isna(v) else text(v) for v in column], dtype=object)


def _yuan(fen: object) -> str:
    yuan, rest = divmod(int(str(fen)), 100)
    return f"{yuan:,}.{rest:02}"


def _budget_rows(frame: pd.DataFrame) -> dict[str, pd.Series]:
    return {
        "stock": frame["stock_id"],
        "remark": frame["remark"].fillna(frame["name"]),
        "state": frame["state"],
        "sent": _each(frame["sent_count"], "{:,}".format),
        "of": _each(frame["max_count"], "{:,}".format),
        "share": _each(frame["sent_share"], "{:.1%}".format),
        "worth, yuan": _each(frame["sent_value_fen"], _yuan),
    }


def _quota_rows(frame: pd.DataFrame) -> dict[str, pd.Series]:
    return {
        "stock": frame["stock_id"],
        "state": frame["state"],
        "sendable": _each(frame["sendable_today"], "{:,}".format),
        "bound by": frame["binding_limit"],
        "daily": _each(frame["daily_left"], "{:,}".format),
        "total": _each(frame["total_left"], "{:,}".format),
        "codes": _each(frame["codes_left"], "{:,}".format),
    }


def _state_rows(frame: pd.DataFrame) -> dict[str, pd.Series]:
    return {
        "coupon_state": frame["coupon_state"],
        "coupons": _each(frame["count"], "{:,}".format),
        "share": _each(frame["share"], "{:.1%}".format),
    }


def _plots(
    to: Path, stocks: pd.DataFrame, coupons: pd.DataFrame, user_coupons: pd.DataFrame, now: datetime
) -> list[Path]:
    """Draw without pyplot: no window opens, wherever this runs."""
    draw: dict[str, Callable[[Axes], Axes]] = {
        "budget_use": lambda ax: wx.plot_budget_use(stocks, coupons, ax=ax),
        "remaining_daily_quota": lambda ax: wx.plot_remaining_daily_quota(stocks, coupons, now=now, ax=ax),
        "state_breakdown": lambda ax: wx.plot_state_breakdown(user_coupons, by="stock_id", ax=ax),
    }
    paths = [to / f"{name}.png" for name in draw]
    for path, onto in zip(paths, draw.values(), strict=True):
        figure = Figure(figsize=(10, 7.5), dpi=120, layout="constrained")
        onto(figure.add_subplot())
        figure.savefig(path)
    return paths


def _send(console: Console, box: wx.Sandbox, client: wx.Client, stocks: pd.DataFrame) -> None:
    quota = wx.remaining_daily_quota(stocks, now=client.now())
    free = stocks.merge(quota[["stock_id", "sendable_today"]], on="stock_id")
    free = free[
        (free["coupon_code_mode"] == "WECHATPAY")
        & (free["sendable_today"] > 0)
        & free["single_usage_rule_coupon_available_period_available_begin_time"].notna()
    ]
    stock = free.sort_values("sendable_today").iloc[-1]
    ids = {"product_coupon_id": stock["product_coupon_id"], "stock_id": stock["stock_id"], "appid": box.appid}
    openid = "o-demo-394z6CGkNoJrsDLTTUKiA"
    console.print(f"\n[bold]A coupon of stock {stock['stock_id']} is sent[/bold] to a user, twice the same call:")
    for attempt in ("first call ", "second call"):
        coupon = client.actions.send_coupon(openid, campaign="demo", **ids)
        console.print(f"  {attempt}  {coupon['coupon_code']}  {coupon['coupon_state']}")
    console.print("  One coupon: its request number follows from campaign, stock, user and copy.")
    number = f"confirm-{coupon['send_request_no'][4:]}"[:40]
    confirmed = client.api.confirm_coupon(openid, coupon["coupon_code"], {**ids, "out_request_no": number})
    console.print(
        f"  confirmed    {confirmed['coupon_code']}  {confirmed['coupon_state']}  (CONFIRMING could not be used)"
    )


def _deactivate(console: Console, client: wx.Client, stocks: pd.DataFrame) -> None:
    stock = stocks[stocks["state"] == "PAUSED"].iloc[0]
    ids = (stock["product_coupon_id"], stock["stock_id"])
    console.print(f"\n[bold]Stock {ids[1]} is deactivated[/bold], which is for good and must be confirmed:")
    try:
        client.actions.deactivate_stock(*ids, reason="演示:批次信息有误", confirm="yes")
    except wx.ConfirmationError as error:
        console.print(f"  confirm='yes'            {error}", markup=False, soft_wrap=True)
    after = client.actions.deactivate_stock(*ids, reason="演示:批次信息有误", confirm=ids[1])
    console.print(f"  confirm={ids[1]!r}  {stock['state']} → {after['state']}", markup=False)
