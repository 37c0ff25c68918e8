"""Lists of users as files in, results as files out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from wxcoupon_analytics.errors import ValidationError

if TYPE_CHECKING:
    import pandas as pd

_READABLE, _WRITABLE = (".csv", ".parquet"), (".csv", ".parquet", ".xlsx")
_LONGEST_NAME = 20  # of a column; an openid has 28 characters


def read_users(path: Path) -> pd.DataFrame:
    """Read a table that has a column ``openid``; of a CSV file every column is text, as a number would lose digits."""
    import pandas as pd
    import pyarrow as pa

    _check_suffix(path, _READABLE)
    try:
        if path.suffix.lower() == ".parquet":
            frame = pd.read_parquet(path)
        else:
            frame = pd.read_csv(path, dtype="string", keep_default_na=False, na_values=[""], encoding="utf-8-sig")
    except OSError as error:
        raise ValidationError(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ValidationError(f"{path} is not UTF-8: save it as “CSV UTF-8”, or as Parquet") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, pa.ArrowInvalid) as error:
        raise ValidationError(f"{path} is not a {path.suffix[1:]} table: {error}") from None
    if "openid" not in frame.columns:
        columns = ", ".join(repr(_heading(name)) for name in map(str, frame.columns))
        raise ValidationError(
            f"{path} has no column openid, but {columns}: its first line must name the columns, with commas between"
        )
    if pd.api.types.is_string_dtype(frame["openid"]):
        frame["openid"] = frame["openid"].str.strip()  # with a space of the export's it would be another user
    return frame


def read_openids(path: Path) -> pd.Series:
    """Read the users of such a table; whom to ask must be said in every row."""
    openids = read_users(path)["openid"]
    missing = openids.isna() | openids.eq("")
    if missing.any():
        raise ValidationError(
            f"{path} has no openid in {missing.sum()} of {len(missing)} rows, the first of them row {missing.argmax() + 1} "
            "below its heading: fill them in, or take them out"
        )
    return openids


def check_writable(path: Path, known: tuple[str, ...] = _WRITABLE) -> None:
    """Refuse a name or a folder before anything is done whose result could then not be kept."""
    _check_suffix(path, known)
    if not path.parent.is_dir():
        raise ValidationError(f"{path} cannot be written: there is no folder {path.parent}")
    if path.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
        why = "it is a folder" if path.is_dir() else f"{path.parent} is not yours to write to"
        raise ValidationError(f"{path} cannot be written: {why}")


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write a frame in the form its name asks for."""
    import wxcoupon_analytics as wx

    if path.suffix.lower() == ".parquet":
        frame.to_parquet(path, index=False)
    elif path.suffix.lower() == ".xlsx":
        wx.to_excel(frame, path)
    else:
        wx.to_csv(frame, path)


def _heading(name: str) -> str:
    """Cut what may be no column's name: in a file without a heading the first user stands in its place."""
    return name if name.isascii() and name.isidentifier() and len(name) <= _LONGEST_NAME else f"{name:.1}…"


def _check_suffix(path: Path, known: tuple[str, ...]) -> None:
    if path.suffix.lower() not in known:
        raise ValidationError(f"{path}: name a file that ends in {' or '.join(known)}")
