"""How a command ends: its exit status, and one line on standard error for what went wrong."""

from __future__ import annotations

import errno
from typing import Any, Final

import typer
from typer.core import TyperGroup

from wxcoupon_analytics.errors import WxCouponError

FAILED: Final = 1
INCOMPLETE: Final = 3
EXIT_STATUS: Final = (
    "Exit status: 0 done; 1 not done, with one line on standard error that says why; 2 wrong usage; "
    "3 done in part: some failed, or what came of them is not known; 130 interrupted."
)


class Commands(TyperGroup):
    """The commands. An error of ours, or of a file, is a line for people, not a traceback: its text says what to do."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except WxCouponError as error:
            typer.echo(f"{type(error).__name__}: {' '.join(str(error).split())}", err=True)
            raise typer.Exit(FAILED) from None
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader of our output has gone; that is for click to end quietly
                raise
            place = f"{error.filename} cannot be used" if error.filename else type(error).__name__
            typer.echo(f"{place}: {error.strerror or error}", err=True)
            raise typer.Exit(FAILED) from None
        except RuntimeError as error:
            if str(error) != "Query interrupted":  # as DuckDB says that Ctrl-C came while it was at work
                raise
            raise KeyboardInterrupt from None
