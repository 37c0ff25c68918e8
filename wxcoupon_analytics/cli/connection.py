"""Options that several commands share, and the client they describe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import wxcoupon_analytics as wx

Hosts = Annotated[
    list[str] | None,
    typer.Option(
        "--host", help="A host to call instead of those beside the credentials; may be repeated.", metavar="URL"
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


def connect(hosts: list[str] | None, *, journal: Path | None = None) -> wx.Client:
    """Connect with the credentials that are configured; what is done to an embedded brand stands in its own journal."""
    from wxcoupon_analytics.sandbox.sharing import shared_journal

    return wx.connect(wx.Credentials.load(), hosts=hosts or None, journal=journal or shared_journal())
