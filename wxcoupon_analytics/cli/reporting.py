"""What a manager reads on Monday: ``wxcoupon report``."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

import wxcoupon_analytics as wx
from wxcoupon_analytics.cli.connection import Json
from wxcoupon_analytics.cli.files import check_writable
from wxcoupon_analytics.cli.snapshots import Store


class Lang(StrEnum):
    """The languages of the report."""

    zh = "zh"
    en = "en"


def report(
    store: Store = "data",
    week: Annotated[
        str | None, typer.Option(help="An ISO week like 2026-W47, or a date in it. Default: the last complete one.")
    ] = None,
    lang: Annotated[Lang, typer.Option(help="The language of the report.")] = Lang.zh,
    out: Annotated[
        list[Path] | None,
        typer.Option(
            help="A file to write, .html or .xlsx; may be repeated. Default: report-WEEK.html.", metavar="FILE"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the report of a week from the snapshots of a store.

    One file to open, print or send. Nothing is fetched, and no credentials are needed. In the crontab, after a week of
    nightly fetches: 0 8 * * 1 wxcoupon report --store /home/me/data --out /home/me/report.html

    Example: wxcoupon report --store data --week 2026-W47 --out report.html

    Example: wxcoupon report --store data --lang en --out report.html --out report.xlsx
    """
    for path in out or [Path("report-WEEK.html")]:
        check_writable(path, (".html", ".xlsx"))
    made = wx.weekly_report(wx.SnapshotStore(store), week=week, lang=lang.value)
    files = [
        made.to_html(path) if path.suffix.lower() == ".html" else made.to_excel(path)
        for path in out or [Path(f"report-{made.week}.html")]
    ]
    if as_json:
        found = {"week": made.week, "headline": made.headline, "actions": made.actions, "notes": made.notes}
        typer.echo(json.dumps({**found, "files": [str(path) for path in files]}))
    else:
        typer.echo("\n".join([*map(str, files), made.headline]))
