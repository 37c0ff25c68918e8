"""CSV for a spreadsheet: text that double-clicking opens with its Chinese, its ids and its dates as they are.

A CSV has no types, so a spreadsheet guesses: 1000000013001 becomes 1E+12, "11-11" a day in November, "=…" a formula.
What it would guess wrong is kept from it by two marks, each of which a program takes off again.
"""

from __future__ import annotations

import csv
import os
import re
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final

from narwhals.typing import IntoFrame

from wxcoupon_analytics.exports.columns import Column, Value, export, hours, starts_formula
from wxcoupon_analytics.exports.destination import replacing

# What a spreadsheet takes for a number, a sum of money, a time, a date or a truth.
_GUESSED: Final = re.compile(
    r"\s*(?:[(.$¥￥€£]*\d|(?:true|false)\s*$|(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*[\s.,-]*\d)",
    re.IGNORECASE,
)
_NAMED_BY_UNIT: Final = {"yuan": "_yuan", "time": "_beijing"}


def to_csv(frame: IntoFrame, path: str | os.PathLike[str]) -> Path:
    r"""Write a frame as a CSV file that Excel, WPS and Numbers open right.

    Parameters
    ----------
    frame : frame
        Any frame: pandas, Polars, PyArrow, DuckDB or PySpark. Of pandas the index is kept as columns; one of whole numbers
        without a name is taken for a count and left out, and ``frame.rename_axis("stock_id")`` keeps it.
    path : str or path
        Ends in ``.csv``; a file of that name is replaced, once the new one is whole.

    Returns
    -------
    Path
        The file: UTF-8 with a byte order mark (without one Excel takes Chinese for GBK), lines ended by CR LF.

        ================= ============================ =================================================================
        column            header                       cell
        ================= ============================ =================================================================
        text, ids         as it is                     itself; two marks below
        fen               ``…_yuan`` for ``…_fen``     yuan with two decimals: exact, means of fen rounded to one
        aware time        ``…_beijing``                Beijing wall time, ``2026-11-02 10:00:00``
        date              as it is                     ``2026-11-02``
        duration          as it is                     hours, minutes, seconds: ``26:03:04``
        share, count      as it is                     the plain number: 0.25 is 25 %
        list, struct      as it is                     JSON; amounts inside stay fen
        null              as it is                     empty
        ================= ============================ =================================================================

    Raises
    ------
    ValidationError
        The path does not end in ``.csv``, its folder does not exist, ids are floats too large for their digits, a
        column has values of several types, or two columns have one name.

    Notes
    -----
    - A text that a spreadsheet would take for a number or a date (an id, ``"11-11"``, ``"TRUE"``) ends in a **tab**, as
      in the bills Alipay gives its merchants. It stays text, and nothing is seen. The common ``="123"`` is itself a
      formula, and no program but a spreadsheet reads it.
    - A text, or a header, that begins as a formula may (``= + - @``, also full-width, tab, CR, LF) or with an apostrophe
      gets an **apostrophe** before it. (A text that ends in a tab of its own gets another: what the marks are taken off is
      what was written.)

    pandas takes a number that ends in a tab for the number, so name the ids as text, and take both marks off::

        read = pd.read_csv(path, dtype="string")
        read = read.apply(lambda column: column.str.removeprefix("'").str.removesuffix("\t"))

    For other programs write Parquet; for Excel, :func:`~wxcoupon_analytics.exports.to_excel` needs no marks.

    Examples
    --------
    >>> import tempfile
    >>> import wxcoupon_analytics as wx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = wx.to_csv(wx.budget_use(wx.load_sample("stocks")).head(2), f"{folder}/budget.csv")
    ...     text = file.read_text(encoding="utf-8-sig")
    >>> [name for name in text.splitlines()[0].split(",") if name.endswith(("_yuan", "_beijing"))]
    ['discount_yuan', 'sent_value_yuan', 'budget_value_yuan', 'as_of_beijing']
    """
    with replacing(path, suffix=".csv") as (beside, target):
        exported = export(frame)
        with beside.open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([_marked(_header(column)) for column in exported.columns])
            writer.writerows([_text(value) for value in row] for row in exported.rows())
    return target


def _header(column: Column) -> str:
    return column.bare_name + _NAMED_BY_UNIT.get(column.kind, "")


def _text(value: Value) -> str:
    match value:
        case None:
            return ""
        case str():
            return _marked(value)
        case bool():
            return "TRUE" if value else "FALSE"
        case Decimal():
            return f"{value:f}"
        case datetime():
            return value.isoformat(" ")
        case timedelta():
            return hours(value)
        case _:
            return str(value)


def _marked(text: str) -> str:
    """Add the marks; a text that has one of its own gets another, so that taking marks off gives back every text."""
    tab = "\t" if _GUESSED.match(text) or text.endswith("\t") else ""
    return ("'" if starts_formula(text) or text.startswith("'") else "") + text + tab
