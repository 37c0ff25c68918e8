"""A progress bar where someone is watching."""

from __future__ import annotations

import sys
from typing import Any


def bar(total: int, *, what: str, show: bool | None) -> Any:
    """Give a tqdm bar; with ``show=None`` only on an interactive terminal or in a notebook, and not for a handful."""
    from tqdm.auto import tqdm

    if show is None:
        show = total > 50 and (sys.stderr.isatty() or "ipykernel" in sys.modules)
    return tqdm(total=total, desc=what, disable=not show, leave=False)
