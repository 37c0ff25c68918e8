"""From a list of users to coupons: ``wxcoupon send``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wxcoupon_analytics.cli.connection import Hosts, Json, connect
from wxcoupon_analytics.cli.files import check_writable, read_users, write_table
from wxcoupon_analytics.cli.outcomes import INCOMPLETE
from wxcoupon_analytics.errors import WxCouponError

if TYPE_CHECKING:
    import pandas as pd

    from wxcoupon_analytics.actions.send_plan import SendPlan

_DOUBTFUL = ("failed", "unknown")


def send(
    audience: Annotated[
        Path,
        typer.Argument(
            help="CSV or Parquet file with a column openid; other columns are carried along.", metavar="AUDIENCE"
        ),
    ],
    campaign: Annotated[
        str, typer.Option(help="What these coupons belong to; with stock and user, a send's identity.")
    ],
    product_coupon_id: Annotated[str, typer.Option(help="The product coupon.")],
    stock_id: Annotated[str, typer.Option(help="The stock to send from.")],
    appid: Annotated[str, typer.Option(help="The app the openids belong to.")],
    confirm: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Send, if so many coupons are due: the number that the plan without this option ends with (--json: to_confirm).",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write every row, with its status and why, as .csv, .xlsx or .parquet.")
    ] = None,
    holdout: Annotated[float, typer.Option(help="Share of users to hold out, to measure what the coupon does.")] = 0.0,
    stratify: Annotated[
        list[str] | None,
        typer.Option(help="A column within whose groups to hold out; may be repeated.", metavar="COLUMN"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Who is held out: with another seed, others.")] = 0,
    copy: Annotated[int, typer.Option(help="Which of several coupons for the same user and campaign, from 1.")] = 1,
    allow_repeat: Annotated[
        bool, typer.Option("--allow-repeat", help="Send also to users who got this stock in another campaign.")
    ] = False,
    attach: Annotated[str | None, typer.Option(help="Text given back in queries and notifications.")] = None,
    member_card_id: Annotated[str | None, typer.Option(help="Send member coupons of this membership card.")] = None,
    confirm_coupons: Annotated[
        bool, typer.Option("--confirm-coupons", help="Also confirm each coupon, so that it can be used.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Also ask again for users whom an earlier run was refused.")
    ] = False,
    max_failures: Annotated[
        int | None, typer.Option(min=0, help="End after more failures than this. Default: 5 %, and at least 20.")
    ] = None,
    journal: Annotated[
        Path | None, typer.Option(help="Where sends are recorded. Default: one file per user and brand.")
    ] = None,
    host: Hosts = None,
    as_json: Json = False,
) -> None:
    """Send a coupon to each user of a list, once.

    Without --confirm it shows the plan and sends nothing; with the plan's number confirmed, it sends. Run again, it sends
    nothing twice: what an earlier run sent is already_sent, and what it left unknown is asked again under the same request
    number.

    Example: wxcoupon send vips.csv --campaign double-11 --product-coupon-id 1000000013 --stock-id 1000000013001 --appid
    wx233544546545989

    Example: the same with --confirm 412 --out result.csv
    """
    from wxcoupon_analytics.actions.plan_view import outline

    if out is not None:
        check_writable(out)
        if out.resolve() == audience.resolve():
            raise typer.BadParameter(f"{out} is the audience itself: name another file", param_hint="--out")
    users = read_users(audience)
    with connect(host, journal=journal) as client:
        plan = client.actions.plan_sends(
            users,
            campaign=campaign,
            product_coupon_id=product_coupon_id,
            stock_id=stock_id,
            appid=appid,
            attach=attach,
            member_card_id=member_card_id,
            confirm_coupons=confirm_coupons,
            holdout=holdout,
            stratify=stratify,
            seed=seed,
            copy=copy,
            allow_repeat=allow_repeat,
        )
        if confirm is None:
            rows = plan.rows
            if out is not None:
                write_table(rows, out)
        else:
            if not as_json:
                typer.echo(outline(plan))
            try:
                rows = plan.execute(confirm=confirm, max_failures=max_failures, retry_failed=retry_failed)
            except KeyboardInterrupt as stopped:
                if hasattr(stopped, "result"):
                    typer.echo(f"interrupted; the same command goes on from here:\n{_counts(stopped.result)}", err=True)
                    _keep(stopped.result, out)
                raise
    due = plan.count_due(retry_failed=retry_failed)
    if confirm is None:
        told = f"{outline(plan)}\n\nNothing was sent." + (
            f" To send: the same command with --confirm {due}" if due else ""
        )
        typer.echo(_as_json(plan, due, None) if as_json else told)
        return
    try:
        typer.echo(_as_json(plan, due, rows) if as_json else _counts(rows))
    finally:  # also when nobody reads that any more
        is_kept = _keep(rows, out)
    if not is_kept or rows["status"].isin(_DOUBTFUL).any():
        raise typer.Exit(INCOMPLETE)


def _keep(rows: pd.DataFrame, out: Path | None) -> bool:
    """Write what came of the sends; if that cannot be, say so: it must not hide what came of them."""
    try:
        if out is not None:
            write_table(rows, out)
    except (OSError, WxCouponError) as error:
        why = (isinstance(error, OSError) and error.strerror) or error
        typer.echo(f"{out} cannot be written: {why}; every send that was begun is in the journal", err=True)
        return False
    return True


def _counts(rows: pd.DataFrame) -> str:
    return "\n".join(f"{status:<14}{count:>9,}" for status, count in rows["status"].value_counts().items())


def _as_json(plan: SendPlan, due: int, rows: pd.DataFrame | None) -> str:
    found = {
        "plan": plan.summary.to_dict(),
        "reasons": plan.reasons.astype(object).where(plan.reasons.notna(), None).to_dict(orient="records"),
        "to_confirm": due,
        "outcomes": None
        if rows is None
        else {str(status): int(count) for status, count in rows["status"].value_counts().items()},
    }
    return json.dumps(found)
