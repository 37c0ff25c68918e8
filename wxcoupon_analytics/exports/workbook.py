"""Excel workbooks: real numbers, dates and percentages, ids as text, and no cell that is a formula."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, Literal
from unicodedata import east_asian_width

import xlsxwriter
from narwhals.typing import IntoFrame
from xlsxwriter.exceptions import FileCreateError

from wxcoupon_analytics.errors import ValidationError
from wxcoupon_analytics.exports.columns import Column, Exported, Kind, Value, export, hours, starts_formula
from wxcoupon_analytics.exports.destination import replacing

Lang = Literal["zh", "en"]

_ROWS: Final = 1_048_576  # of a sheet, by Excel's limits
_COLUMNS: Final = 16_384
_CELL: Final = 32_767  # letters of a cell, as UTF-16 counts them
_NAME: Final = 31  # letters of a sheet's name, counted in the same way
_DIGITS: Final = 15  # of a number
_FIRST_YEAR: Final = 1900
_MEASURED, _NARROWEST, _WIDEST = 1_000, 8, 60  # rows looked at for the width of a column, in letters

_UNITS: Final[Mapping[str, Mapping[Kind, str]]] = {
    "zh": {"yuan": "元", "time": "北京时间"},
    "en": {"yuan": "yuan", "time": "Beijing time"},
}
_NUMBER_FORMATS: Final[Mapping[Kind, str]] = {
    "text": "@",
    "id": "@",
    "nested": "@",
    "count": "#,##0",
    "number": "#,##0.0###",
    "share": "0.0%",
    "yuan": "#,##0.00",
    "time": "yyyy-mm-dd hh:mm:ss",
    "clock": "yyyy-mm-dd hh:mm:ss",
    "day": "yyyy-mm-dd",
    "duration": "[h]:mm:ss",
}


@dataclass(frozen=True)
class Sheet:
    """One sheet of a workbook.

    Attributes
    ----------
    name : str
        On its tab. What Excel does not take in one is replaced, and a name that is taken gets a number.
    frame : frame
        Its rows, of any engine.
    title, notes : str, sequence of str
        Lines above the header: what the sheet shows, and what to know about it.
    headers : mapping, default {}
        What the columns are called, by their names in the frame; the unit is added. Others keep their names.
    kinds : mapping, default {}
        What columns are where name and dtype do not say so: ``{"low": "share"}``.
    """

    name: str
    frame: IntoFrame
    title: str = ""
    notes: Sequence[str] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    kinds: Mapping[str, Kind] = field(default_factory=dict)


def to_excel(frame: IntoFrame, path: str | os.PathLike[str], *, lang: Lang = "zh") -> Path:
    """Write a frame as an Excel workbook of one sheet.

    Parameters
    ----------
    frame : frame
        Any frame: pandas, Polars, PyArrow, DuckDB or PySpark. Of pandas the index is kept as columns; one of whole numbers
        without a name is taken for a count and left out, and ``frame.rename_axis("stock_id")`` keeps it.
    path : str or path
        Ends in ``.xlsx``; a file of that name is replaced, once the new one is whole.
    lang : {"zh", "en"}
        The language of the units in the header.

    Returns
    -------
    Path
        The file. The header row is frozen and filters, columns are as wide as what they hold.

        ================= ======================= ====================================================================
        column            header                  cell
        ================= ======================= ====================================================================
        text, ids         as it is                text, also when it is all digits or begins with ``=``
        fen               ``… (元)``, no ``_fen`` yuan, ``#,##0.00``: exact, means of fen rounded to one
        aware time        ``… (北京时间)``        Beijing wall time to the second, a real Excel date
        date              as it is                a real Excel date
        duration          as it is                hours, minutes, seconds, a real Excel time
        count             as it is                ``#,##0``
        share, rate       as it is                ``0.0%``
        list, struct      as it is                JSON text; amounts inside stay fen
        null              as it is                empty
        ================= ======================= ====================================================================

        A number of more than fifteen digits, a date before 1900 or a duration below 0 is text: Excel would change it. A text of more than
        32,767 letters is cut, and ends in "…".

    Raises
    ------
    ValidationError
        More rows than a sheet holds (1,048,575 and the header; nothing is split, for a filter or a sum over half of the
        rows would pass for the whole), more than 16,384 columns, ids that are floats too large for their digits, values
        of several types in a column, two columns of one name, an unknown ``lang``, or a path that does not end in
        ``.xlsx`` or whose folder does not exist.
    OSError
        The file cannot be written; one of that name stays as it was.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd
    >>> import wxcoupon_analytics as wx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = wx.to_excel(wx.budget_use(wx.load_sample("stocks")), f"{folder}/budget.xlsx", lang="en")
    ...     back = pd.read_excel(file, dtype={"stock_id": "string"})
    >>> back.loc[0, "stock_id"], back.loc[0, "as_of (Beijing time)"], back.columns[-2]
    ('1000000013001', Timestamp('2026-11-02 10:00:00'), 'budget_value (yuan)')
    """
    return write_workbook([Sheet("data", frame)], path, lang=lang)


def write_workbook(sheets: Sequence[Sheet], path: str | os.PathLike[str], *, lang: Lang = "zh") -> Path:
    """Write several frames as one Excel workbook, a sheet each; cells and errors are those of :func:`to_excel`."""
    if lang not in _UNITS:
        raise ValidationError(f"lang={lang!r}: the headers speak {' and '.join(map(repr, sorted(_UNITS)))}")
    names = _sheet_names([sheet.name for sheet in sheets])
    with replacing(path, suffix=".xlsx") as (beside, target), _workbook(beside) as book:
        for name, sheet in zip(names, sheets, strict=True):
            above = [line for line in (sheet.title, *sheet.notes) if line]
            header = len(above) + bool(above)
            exported = export(sheet.frame, most=_ROWS - header - 1, kinds=sheet.kinds)
            if len(exported.columns) > _COLUMNS:
                raise ValidationError(f"{len(exported.columns):,} columns, and an Excel sheet holds {_COLUMNS:,}")
            _write_sheet(book, name, sheet, exported, header, _UNITS[lang])
    return target


@contextmanager
def _workbook(path: Path) -> Iterator[Any]:
    """Open a workbook whose rows go to the disk as they are written; what the disk refuses is an OSError."""
    with tempfile.TemporaryDirectory() as rows:  # xlsxwriter leaves them behind when it fails, and they name users
        book = xlsxwriter.Workbook(str(path), {"constant_memory": True, "tmpdir": rows})
        try:
            with book:
                yield book
        except FileCreateError as error:
            for page in book.worksheets():
                page._opt_close()  # so does its own close, but only after a success
            raise error.args[0] from None


def _write_sheet(
    book: Any, name: str, sheet: Sheet, exported: Exported, header: int, units: Mapping[Kind, str]
) -> None:
    page = book.add_worksheet(name)
    headed = [_header(column, sheet.headers, units) for column in exported.columns]
    widths = [_width(text) + 3 for text in headed]  # the filter's button
    # Quoted as texts among the rows are: a line may begin with a name from the API.
    title = book.add_format({"bold": True, "font_size": 14, "quote_prefix": True})
    note = book.add_format({"font_color": "#666666", "quote_prefix": True})
    for row, text in enumerate(line for line in (sheet.title, *sheet.notes) if line):
        page.write_string(row, 0, _fitted(text), title if row == 0 and sheet.title else note)
    head = book.add_format({"bold": True, "bg_color": "#EEEEEE", "bottom": 1, "quote_prefix": True})
    for place, text in enumerate(headed):
        page.write_string(header, place, _fitted(text), head)
    formats = [_Formats.of(book, column.kind) for column in exported.columns]
    row = header
    for row, values in enumerate(exported.rows(), start=header + 1):
        for place, (value, how) in enumerate(zip(values, formats, strict=True)):
            shown = _write(page, row, place, value, how)
            if row - header <= _MEASURED:
                widths[place] = max(widths[place], _width(shown) + 1)
    for place, width in enumerate(widths):
        page.set_column(place, place, min(max(width, _NARROWEST), _WIDEST))
    if headed:
        page.autofilter(header, 0, row, len(headed) - 1)
        page.ignore_errors({"number_stored_as_text": f"A1:{_last_cell(row, len(headed))}"})
    page.freeze_panes(header + 1, 0)
    page.repeat_rows(header)
    page.set_landscape()
    page.set_paper(9)  # A4
    page.fit_to_pages(1, 0)


@dataclass(frozen=True)
class _Formats:
    """How the cells of a column look: its own values, and texts among them."""

    own: Any
    text: Any
    quoted: Any

    @classmethod
    def of(cls, book: Any, kind: Kind) -> _Formats:
        return cls(
            own=book.add_format({"num_format": _NUMBER_FORMATS.get(kind, "General")}),
            text=book.add_format({"num_format": "@"}),
            # The apostrophe that Excel keeps beside a cell, not in it: editing the cell leaves it a text.
            quoted=book.add_format({"num_format": "@", "quote_prefix": True}),
        )


def _write(page: Any, row: int, place: int, value: Value, formats: _Formats) -> str:
    """Write a value as what it is, and say what will be seen of it, for the width."""
    match _as_excel_holds(value):
        case None:
            return ""
        case str(text):
            page.write_string(row, place, text, formats.quoted if starts_formula(text) else formats.text)
            return text
        case bool(flag):
            page.write_boolean(row, place, flag, formats.own)
            return str(flag)
        case datetime() | date() | timedelta() as moment:
            page.write_datetime(row, place, moment, formats.own)
            return "yyyy-mm-dd hh:mm:ss" if isinstance(moment, datetime) else "yyyy-mm-dd"
        case number:
            page.write_number(row, place, number, formats.own)
            return f"{number:,.2f}"


def _as_excel_holds(value: Value) -> Value:
    match value:
        case str():
            return _fitted(value)
        case int() if abs(value) >= 10**_DIGITS:
            return str(value)
        case Decimal() if len(value.normalize().as_tuple().digits) > _DIGITS:
            return f"{value:f}"
        case date() if value.year < _FIRST_YEAR:
            return value.isoformat(" ") if isinstance(value, datetime) else value.isoformat()
        case datetime():  # Excel rounds what it shows, and the last half second of a day would be in the next
            return value.replace(microsecond=0)
        case timedelta() if value < timedelta():  # Excel shows a time below 0 as a row of #
            return hours(value)
        case _:
            return value


def _fitted(text: str) -> str:
    """Cut what a cell cannot hold, so that it shows; Excel counts as UTF-16 does."""
    if len(text) * 2 <= _CELL or _begin(text, _CELL) == text:
        return text
    return _begin(text, _CELL - 1) + "\N{HORIZONTAL ELLIPSIS}"


def _begin(text: str, most: int) -> str:
    """Give as much of a text as has at most so many letters, as UTF-16 counts them."""
    return text[: sum(end <= most for end in accumulate(2 if letter > "\uffff" else 1 for letter in text))]


def _header(column: Column, headers: Mapping[str, str], units: Mapping[Kind, str]) -> str:
    name = headers.get(column.name, column.bare_name)
    return f"{name} ({units[column.kind]})" if column.kind in units else name


def _width(text: str) -> int:
    """Measure the widest line, a Chinese letter being two wide."""
    lines = text[: 4 * _WIDEST].splitlines() or [""]
    return max(sum(2 if east_asian_width(letter) in "WF" else 1 for letter in line) for line in lines)


def _last_cell(row: int, columns: int) -> str:
    cell: str = xlsxwriter.utility.xl_rowcol_to_cell(row, columns - 1)
    return cell


def _sheet_names(wanted: Sequence[str]) -> list[str]:
    """Make names that Excel takes: some signs not at all, 31 letters, an apostrophe not at the ends, no two alike."""
    names: list[str] = []
    for name in wanted:
        allowed = re.sub(r"[\[\]:*?/\\\x00-\x1f]", "_", name).strip("' ") or "sheet"
        taken = {"history", *(other.casefold() for other in names)}  # Excel keeps that one for itself
        for count in range(1, len(wanted) + 2):
            ending = f" {count}" if count > 1 else ""
            given = _begin(allowed, _NAME - len(ending)).rstrip("' ") + ending
            if given.casefold() not in taken:
                break
        names.append(given)
    return names
