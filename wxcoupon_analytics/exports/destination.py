"""A file that is there whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wxcoupon_analytics.errors import ValidationError


@contextmanager
def replacing(path: str | os.PathLike[str], *, suffix: str) -> Iterator[tuple[Path, Path]]:
    """Give a path to write to and, beside it, where it is moved when all is written."""
    target = Path(path).expanduser()
    if target.suffix.lower() != suffix:
        raise ValidationError(f"{target} does not end in {suffix}: what opens files goes by that")
    if not target.parent.is_dir():
        raise ValidationError(f"{target.parent} is no folder: make it first")
    beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        yield beside, target
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
