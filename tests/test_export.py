"""The exports: what a spreadsheet shows is what the frame holds, and nothing in it is a formula."""

from __future__ import annotations

import csv
import shutil
import tempfile
import traceback
import tracemalloc
import zipfile
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import openpyxl
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wxcoupon_analytics as wx
from tests.metrics.frames import ENGINES, NOON, as_engine, stock, stocks
from tests.spark import local_session
from wxcoupon_analytics.entities.schemas import to_table
from wxcoupon_analytics.errors import ValidationError
from wxcoupon_analytics.exports import Sheet, write_workbook
from wxcoupon_analytics.exports.columns import kind_of, starts_formula

EVIL = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "  =1",
    "＝1+1",
    "＋1",
    "－1",
    "＠1",
    '=HYPERLINK("http://x")',
]
ODD_IDS = ["1000000013001", "42000001234567890123456789", "007", "1E5", "3-4", "TRUE", "MAR1", "11月11日", "$5", "50%"]
ROW = pa.table(
    {
        "stock_id": pa.array(["1000000013001"]),
        "numeric_code": pa.array([268578704]),
        "sent_count": pa.array([3359]),
        "sent_share": pa.array([0.25]),
        "mean_days": pa.array([1.5]),
        "sent_value_fen": pa.array([1234567]),
        "single_usage_rule_normal_coupon_threshold": pa.array([20000]),
        "stock_single_usage_rule_normal_coupon_threshold": pa.array([29]),
        "as_of": pa.array([datetime(2026, 11, 1, 17, 30, tzinfo=UTC)], pa.timestamp("us", "UTC")),
        "opened": pa.array([datetime(2026, 11, 1, 17, 30)], pa.timestamp("us")),  # noqa: DTZ001 - the case of no zone
        "fetched_day": pa.array([date(2026, 11, 2)]),
        "age": pa.array([timedelta(days=1, hours=2, minutes=3, seconds=4)]),
        "stale": pa.array([True]),
        "days": pa.array([["周一", "周二"]]),
        "rules": pa.array([[{"discount_amount": 1, "threshold": 5}]]),
        "remark": pa.array(["双十一"]),
        "nothing": pa.array([None], pa.int64()),
    }
)


def sheet(path: Path, name: str | None = None) -> Any:
    book = openpyxl.load_workbook(path)
    return book[name] if name else book.active


def cells(path: Path) -> dict[str, Any]:
    """The first row under the header, by header."""
    page = sheet(path)
    return {head.value: page.cell(2, head.column) for head in page[1]}


def lines(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


def read_back(path: Path) -> pd.DataFrame:
    """Take the two marks off, as the docstring says to."""
    read = pd.read_csv(path, dtype="string", keep_default_na=False)
    return read.apply(lambda column: column.str.removeprefix("'").str.removesuffix("\t"))


def test_each_column_becomes_what_excel_shows_well(tmp_path: Path) -> None:
    row = cells(wx.to_excel(ROW, tmp_path / "row.xlsx"))
    assert {name: (cell.value, cell.number_format) for name, cell in row.items()} == {
        "stock_id": ("1000000013001", "@"),
        "numeric_code": ("268578704", "@"),
        "sent_count": (3359, "#,##0"),
        "sent_share": (0.25, "0.0%"),
        "mean_days": (1.5, "#,##0.0###"),
        "sent_value (元)": (12345.67, "#,##0.00"),
        "single_usage_rule_normal_coupon_threshold (元)": (200, "#,##0.00"),
        "stock_single_usage_rule_normal_coupon_threshold (元)": (0.29, "#,##0.00"),
        "as_of (北京时间)": (datetime(2026, 11, 2, 1, 30), "yyyy-mm-dd hh:mm:ss"),  # noqa: DTZ001 - as Excel has it
        "opened": (datetime(2026, 11, 1, 17, 30), "yyyy-mm-dd hh:mm:ss"),  # noqa: DTZ001
        "fetched_day": (datetime(2026, 11, 2), "yyyy-mm-dd"),  # noqa: DTZ001
        "age": (timedelta(days=1, hours=2, minutes=3, seconds=4), "[h]:mm:ss"),
        "stale": (True, "General"),
        "days": ('["周一", "周二"]', "@"),
        "rules": ('[{"discount_amount": 1, "threshold": 5}]', "@"),
        "remark": ("双十一", "@"),
        "nothing": (None, "General"),
    }


def test_a_csv_says_the_same_with_its_units_in_the_header(tmp_path: Path) -> None:
    head, row = lines(wx.to_csv(ROW, tmp_path / "row.csv"))
    assert dict(zip(head, row, strict=True)) == {
        "stock_id": "1000000013001\t",
        "numeric_code": "268578704\t",
        "sent_count": "3359",
        "sent_share": "0.25",
        "mean_days": "1.5",
        "sent_value_yuan": "12345.67",
        "single_usage_rule_normal_coupon_threshold_yuan": "200.00",
        "stock_single_usage_rule_normal_coupon_threshold_yuan": "0.29",
        "as_of_beijing": "2026-11-02 01:30:00",
        "opened": "2026-11-01 17:30:00",
        "fetched_day": "2026-11-02",
        "age": "26:03:04",
        "stale": "TRUE",
        "days": '["周一", "周二"]',
        "rules": '[{"discount_amount": 1, "threshold": 5}]',
        "remark": "双十一",
        "nothing": "",
    }


def test_the_csv_begins_with_a_byte_order_mark_and_its_lines_end_as_excel_ends_them(tmp_path: Path) -> None:
    data = wx.to_csv(ROW.select(["remark"]), tmp_path / "row.csv").read_bytes()
    assert data == b"\xef\xbb\xbfremark\r\n" + "双十一".encode() + b"\r\n"


def test_no_cell_of_a_workbook_is_a_formula_and_no_text_is_changed(tmp_path: Path) -> None:
    frame = pd.DataFrame(dict.fromkeys(["=cmd|'/c calc'!A1", "@x", "remark"], EVIL))
    path = write_workbook([Sheet("=1+1", frame, title="=2+2", notes=["+3"])], tmp_path / "evil.xlsx")
    page = sheet(path)
    assert [cell.data_type for line in page.iter_rows() for cell in line if cell.value is not None].count("f") == 0
    with zipfile.ZipFile(path) as book:
        assert b"<f>" not in book.read("xl/worksheets/sheet1.xml")
    written = list(page["C"][4:])
    assert [cell.value.replace("_x000D_", "\r") for cell in written] == EVIL
    assert all(cell.quotePrefix for cell in written)  # also once edited
    assert page["A4"].quotePrefix


def test_no_cell_of_a_csv_begins_as_a_formula_and_the_mark_comes_off_again(tmp_path: Path) -> None:
    path = wx.to_csv(pd.DataFrame({"=cmd": EVIL}), tmp_path / "evil.csv")
    assert not [cell for line in lines(path) for cell in line if starts_formula(cell)]
    assert [cell for line in lines(path) for cell in line] == ["'=cmd", *("'" + text for text in EVIL)]


@settings(max_examples=200, deadline=None)
@given(
    texts=st.lists(
        st.one_of(st.sampled_from(EVIL + ODD_IDS), st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
    )
)
def test_any_text_comes_back_from_a_csv(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("any") / "any.csv"
    wx.to_csv(pl.DataFrame({"id": texts, "n": range(len(texts))}, schema={"id": pl.String, "n": pl.Int64}), path)
    cells_ = [line[0] for line in lines(path)[1:]]
    assert [cell.removeprefix("'").removesuffix("\t") for cell in cells_] == texts
    assert not any(starts_formula(cell) for cell in cells_)


def test_ids_read_as_the_docstring_says_are_the_ids(tmp_path: Path) -> None:
    path = wx.to_csv(pd.DataFrame({"transaction_id": ODD_IDS}), tmp_path / "ids.csv")
    assert all(line[0].endswith("\t") for line in lines(path)[1:])
    assert read_back(path)["transaction_id"].tolist() == ODD_IDS
    trimmed = duckdb.sql(f"SELECT trim(transaction_id, chr(9)) FROM read_csv('{path}', all_varchar=true)").fetchall()
    assert [row[0] for row in trimmed] == ODD_IDS


@pytest.mark.parametrize("text", ["会员日", "BR013003-000007", "oh3Y4vQz", "满200减50", "Mark", "truest", ""])
def test_plain_text_gets_no_mark(text: str, tmp_path: Path) -> None:
    assert lines(wx.to_csv(pd.DataFrame({"remark": [text], "n": [1]}), tmp_path / "t.csv"))[1][0] == text


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_writes_the_same_files(engine: str, tmp_path: Path) -> None:
    frame = stocks(
        stock("1000000013001", remark="一", fetched_at=NOON, single_usage_rule_normal_coupon_threshold=20001),
        stock("s2", sequential_usage_rule_discount_coupon_list=[{"threshold": 999, "percent_off": 15}]),
    )
    given_, plain = as_engine(engine, "stocks", frame), tmp_path / "plain"
    plain.mkdir()
    assert wx.to_csv(given_, tmp_path / "a.csv").read_bytes() == wx.to_csv(frame, plain / "a.csv").read_bytes()
    ours, theirs = sheet(wx.to_excel(given_, tmp_path / "a.xlsx")), sheet(wx.to_excel(frame, plain / "a.xlsx"))
    assert [[c.value for c in line] for line in ours] == [[c.value for c in line] for line in theirs]


@pytest.mark.slow
def test_a_spark_frame_is_written_as_any_other(tmp_path: Path) -> None:
    frame = stocks(stock("1000000013001", remark="一", single_usage_rule_normal_coupon_threshold=20001))
    spark = local_session().createDataFrame(to_table("stocks", frame))
    assert wx.to_csv(spark, tmp_path / "a.csv").read_bytes() == wx.to_csv(frame, tmp_path / "b.csv").read_bytes()
    assert sheet(wx.to_excel(spark, tmp_path / "a.xlsx")).max_row == 2


def test_a_duration_below_0_is_text_for_excel_shows_no_such_time(tmp_path: Path) -> None:
    ahead = wx.remaining_daily_quota(stocks(stock()), now=NOON - timedelta(seconds=5))
    assert cells(wx.to_excel(ahead, tmp_path / "q.xlsx"))["age"].value == "-0:00:05"


@pytest.mark.parametrize("engine", ["pandas-arrow", "duckdb", "polars-lazy"])
def test_a_duration_of_any_engine_is_hours_and_minutes(engine: str, tmp_path: Path) -> None:
    quota = wx.remaining_daily_quota(
        as_engine(engine, "stocks", stocks(stock())), now=NOON + timedelta(hours=5, minutes=7)
    )
    assert cells(wx.to_excel(quota, tmp_path / "q.xlsx"))["age"].value == timedelta(hours=5, minutes=7)
    head, row = lines(wx.to_csv(quota, tmp_path / "q.csv"))
    assert dict(zip(head, row, strict=True))["age"] == "5:07:00"


def test_every_entity_of_the_embedded_brand_is_exported(tmp_path: Path) -> None:
    for entity in ("product_coupons", "stocks", "user_coupons"):
        frame = wx.load_sample(entity)
        page = sheet(wx.to_excel(frame, tmp_path / f"{entity}.xlsx"))
        assert (page.max_row, page.max_column) == (len(frame) + 1, len(frame.columns))
        back = read_back(wx.to_csv(frame, tmp_path / f"{entity}.csv"))
        ids = [name for name in frame.columns if name.endswith(("_id", "_no", "_code"))]
        assert back[ids].equals(frame[ids].astype("string").fillna("").astype(back["extra"].dtype))
        fen = wx.describe(entity).query("unit == 'fen'")["column"]
        for name in fen:
            exact = [None if pd.isna(v) else f"{Decimal(int(v)) / 100:.2f}" for v in frame[name]]
            assert back[f"{name}_yuan"].replace({"": None}).tolist() == exact


@given(fen=st.integers(-(10**16), 10**16))
@settings(deadline=None, max_examples=40)
def test_any_amount_is_exact(fen: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("fen")
    frame = pa.table({"paid_fen": pa.array([fen])})
    exact = Decimal(fen) / 100
    assert Decimal(lines(wx.to_csv(frame, folder / "a.csv"))[1][0]) == exact
    value = cells(wx.to_excel(frame, folder / "a.xlsx"))["paid (元)"].value
    assert Decimal(str(value)) == exact


def test_numbers_that_excel_cannot_hold_stay_what_they_are_as_text(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "big_count": [123456789012345678],
            "big_fen": [123456789012345678],
            "born": [date(1899, 12, 31)],
            "nan": [float("nan")],
            "inf": [float("inf")],
        }
    )
    row = cells(wx.to_excel(frame, tmp_path / "big.xlsx"))
    assert [cell.value for cell in row.values()] == [
        "123456789012345678",
        "1234567890123456.78",
        "1899-12-31",
        None,
        "inf",
    ]


def test_a_text_that_does_not_fit_a_cell_is_cut_and_shows_it(tmp_path: Path) -> None:
    frame = pl.DataFrame({"extra": ["x" * 32_767, "x" * 32_768, "🍦" * 20_000]})
    values = [cell.value for cell in sheet(wx.to_excel(frame, tmp_path / "long.xlsx"))["A"][1:]]
    assert values[0] == "x" * 32_767
    assert values[1] == "x" * 32_766 + "…"
    assert values[2] == "🍦" * 16_383 + "…"


def test_means_of_fen_are_rounded_to_one_and_float_ids_are_taken_only_while_exact(tmp_path: Path) -> None:
    frame = pl.DataFrame({"mean_fen": [12.345, 100.0], "order_id": [7.0, None]})
    assert lines(wx.to_csv(frame, tmp_path / "m.csv"))[1:] == [["0.12", "7\t"], ["1.00", ""]]
    with pytest.raises(ValidationError, match="order_id holds 1.00000001e"):
        wx.to_csv(pl.DataFrame({"order_id": [1.00000001e18]}), tmp_path / "m.csv")


def test_columns_are_wide_enough_for_chinese_and_the_sheet_filters_and_scrolls_under_its_header(tmp_path: Path) -> None:
    frame = pl.DataFrame({"remark": ["冬日暖心热饮单品立减券"], "n": [1], "long": ["长" * 200]})
    page = sheet(wx.to_excel(frame, tmp_path / "w.xlsx"))
    widths = [page.column_dimensions[name].width for name in "ABC"]
    assert 22 < widths[0] < 26
    assert widths[1] < 10
    assert widths[2] < 62
    assert page.freeze_panes == "A2"
    assert page.auto_filter.ref == "A1:C2"


def test_an_empty_frame_is_a_header(tmp_path: Path) -> None:
    assert sheet(wx.to_excel(wx.load_sample("stocks").head(0), tmp_path / "e.xlsx")).max_row == 1
    assert len(lines(wx.to_csv(wx.load_sample("stocks").head(0), tmp_path / "e.csv"))) == 1
    wx.to_excel(pd.DataFrame(), tmp_path / "nothing.xlsx")


def test_what_pandas_moved_into_the_index_is_kept(tmp_path: Path) -> None:
    frame = pd.DataFrame({"stock_id": ["1", "1", "2"], "n": [1, 2, 3]}).groupby("stock_id").sum()
    assert lines(wx.to_csv(frame, tmp_path / "g.csv")) == [["stock_id", "n"], ["1\t", "3"], ["2\t", "3"]]


def test_an_index_is_kept_unless_it_only_counts(tmp_path: Path) -> None:
    frame = pd.DataFrame({"state": ["a", "b", "a"], "n": [1, 2, 3]})
    assert lines(wx.to_csv(frame.query("n > 1"), tmp_path / "f.csv")) == [["state", "n"], ["b", "2"], ["a", "3"]]
    assert lines(wx.to_csv(frame[["n"]].describe(), tmp_path / "d.csv"))[:2] == [["index", "n"], ["count", "3.0"]]
    two = frame.set_index([pd.Index(["x", "y", "z"]), pd.Index([7, 8, 9])])
    assert lines(wx.to_csv(two, tmp_path / "m.csv"))[:2] == [["level_0", "level_1", "state", "n"], ["x", "7", "a", "1"]]
    with pytest.raises(ValidationError, match=r"state is both the index and a column: .*reset_index.drop=True"):
        wx.to_csv(frame.set_index("state", drop=False), tmp_path / "s.csv")
    for names, columns in ((["id", "id"], ["n"]), ([None, None], ["level_0"])):
        twice = pd.DataFrame([[1]], columns=columns, index=pd.MultiIndex.from_tuples([(7, 8)], names=names))
        with pytest.raises(ValidationError, match=r"the index cannot become columns: .* frame\.rename_axis"):
            wx.to_csv(twice, tmp_path / "t.csv")


def test_ids_in_an_index_without_a_name_are_kept_as_the_docstring_says(tmp_path: Path) -> None:
    frame = pd.DataFrame.from_dict({1000000013001: [3]}, orient="index", columns=["n"])
    assert lines(wx.to_csv(frame, tmp_path / "n.csv")) == [["n"], ["3"]]
    assert lines(wx.to_csv(frame.rename_axis("stock_id"), tmp_path / "n.csv"))[1] == ["1000000013001\t", "3"]
    for write in (wx.to_csv, wx.to_excel):
        assert 'rename_axis("stock_id")' in str(write.__doc__)


def test_a_pivot_and_periods_and_intervals_are_written_as_pandas_shows_them(tmp_path: Path) -> None:
    frame = pd.DataFrame({"day": pd.to_datetime(["2026-10-31", "2026-11-01", None]), "n": [1, 20, 300]})
    months = frame.assign(month=frame["day"].dt.to_period("M"), size=pd.cut(frame["n"], [0, 10, 100]))
    told = [[1, "2026-10", "(0, 10]"], [20, "2026-11", "(10, 100]"], [300, None, None]]
    page = sheet(wx.to_excel(months[["n", "month", "size"]], tmp_path / "p.xlsx"))
    assert [[cell.value for cell in line] for line in page] == [["n", "month", "size"], *told]
    counted = months.groupby("month")[["n"]].sum()
    assert lines(wx.to_csv(counted, tmp_path / "c.csv")) == [["month", "n"], ["2026-10\t", "1"], ["2026-11\t", "20"]]
    pivot = months.pivot_table(index="n", columns=["month"], aggfunc={"day": "count"})
    assert lines(wx.to_csv(pivot, tmp_path / "v.csv"))[0] == ["n", "day_2026-10", "day_2026-11"]
    by_number = pd.DataFrame([[1, 2]], columns=[7, 8])
    assert lines(wx.to_csv(by_number, tmp_path / "n.csv")) == [["7\t", "8\t"], ["1", "2"]]


def test_columns_that_are_no_columns_are_named_and_no_value_of_them(tmp_path: Path) -> None:
    mixed = "oh-394z-6CGkNoJrsDLTTUKiAnp4"
    with pytest.raises(ValidationError, match="several columns are called 'n': .* rename them"):
        wx.to_csv(pd.DataFrame([[1, 2]], columns=["n", "n"]), tmp_path / "a.csv")
    with pytest.raises(ValidationError, match=r"no Arrow type holds: .* too (big|large) .*one type first"):
        wx.to_csv(pd.DataFrame({"n": [2**70]}), tmp_path / "a.csv")
    with pytest.raises(ValidationError, match="column openid with type object.*one type first") as raised:
        wx.to_csv(pd.DataFrame({"openid": [5, mixed]}), tmp_path / "a.csv")
    assert mixed not in "".join(traceback.format_exception(raised.value))


def test_the_last_instant_of_a_day_is_in_that_day(tmp_path: Path) -> None:
    last = datetime(2026, 11, 1, 15, 59, 59, 999_999, tzinfo=UTC)
    cell = cells(wx.to_excel(pl.DataFrame({"as_of": [last]}), tmp_path / "l.xlsx"))["as_of (北京时间)"]
    assert cell.value == datetime(2026, 11, 1, 23, 59, 59)  # noqa: DTZ001 - as Excel has it


def test_an_interval_of_months_is_not_a_duration_of_none(tmp_path: Path) -> None:
    ages = duckdb.sql("SELECT age(DATE '2026-11-02', DATE '2025-09-01') AS age")
    assert cells(wx.to_excel(ages, tmp_path / "a.xlsx"))["age"].value == "14 months 24:00:00"


def test_a_path_in_the_home_folder_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for write, name in ((wx.to_csv, "a.csv"), (wx.to_excel, "a.xlsx")):
        assert write(ROW, f"~/{name}") == tmp_path / name
        assert (tmp_path / name).exists()


def test_sheets_have_titles_notes_headers_and_names_that_excel_takes(tmp_path: Path) -> None:
    frame = pl.DataFrame({"sent_value_fen": [100], "low": [0.5]})
    named = Sheet(
        "a/b:c", frame, title="预算", notes=["截至今日"], headers={"sent_value_fen": "已发面值"}, kinds={"low": "share"}
    )
    wanted = [
        named,
        Sheet("A_B_C", frame),
        Sheet("History", frame),
        Sheet("很" * 40, frame),
        Sheet("很" * 40, frame),
        Sheet("'", frame),
        Sheet("🍦" * 31, frame),
    ]
    path = write_workbook(wanted, tmp_path / "book.xlsx", lang="zh")
    book = openpyxl.load_workbook(path)
    assert book.sheetnames == ["a_b_c", "A_B_C 2", "History 2", "很" * 31, "很" * 29 + " 2", "sheet", "🍦" * 15]
    page = book["a_b_c"]
    assert [[cell.value for cell in line] for line in page] == [
        ["预算", None],
        ["截至今日", None],
        [None, None],
        ["已发面值 (元)", "low"],
        [1, 0.5],
    ]
    assert page["B5"].number_format == "0.0%"
    assert (page.freeze_panes, page.auto_filter.ref) == ("A5", "A4:B5")


def test_what_cannot_be_written_is_refused_and_what_was_there_stays(tmp_path: Path) -> None:
    kept = tmp_path / "kept.xlsx"
    kept.write_bytes(b"before")
    with pytest.raises(ValidationError, match="1,048,576 rows and an Excel sheet holds 1,048,575"):
        wx.to_excel(pl.LazyFrame({"n": range(1_048_576)}), kept)
    with pytest.raises(ValidationError, match=r"does not end in \.xlsx"):
        wx.to_excel(ROW, tmp_path / "a.xls")
    with pytest.raises(ValidationError, match=r"does not end in \.csv"):
        wx.to_csv(ROW, tmp_path / "a.txt")
    with pytest.raises(ValidationError, match="is no folder"):
        wx.to_csv(ROW, tmp_path / "no" / "a.csv")
    with pytest.raises(ValidationError, match="the headers speak 'en' and 'zh'"):
        wx.to_excel(ROW, kept, lang="fr")  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="kinds names x"):
        write_workbook([Sheet("a", ROW, kinds={"x": "share"})], kept)
    assert kept.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [kept]


def test_a_disk_that_refuses_a_workbook_is_an_os_error_and_no_rows_stay_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (share := tmp_path / "share").mkdir()
    (scratch := tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))

    def unmount(rows: pl.DataFrame) -> pl.DataFrame:
        shutil.rmtree(share, ignore_errors=True)
        return rows

    with pytest.raises(FileNotFoundError, match="No such file"):
        wx.to_excel(pl.LazyFrame({"openid": ["o1"]}).map_batches(unmount), share / "a.xlsx")
    assert list(scratch.iterdir()) == []


def test_too_many_rows_are_counted_where_they_are() -> None:
    """A hundred million rows of DuckDB would not fit here."""
    many = duckdb.sql("SELECT range AS n FROM range(100000000)")
    tracemalloc.start()
    with pytest.raises(ValidationError, match="100,000,000 rows"):
        wx.to_excel(many, Path("never.xlsx"))
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_units_follow_the_entities_then_the_name() -> None:
    import narwhals as nw

    assert kind_of("single_usage_detail_saved_amount", nw.Int64()) == "yuan"
    assert kind_of("product_coupon_display_info_original_price", nw.Int64()) == "yuan"
    assert kind_of("difference_fen_low", nw.Float64()) == "yuan"
    assert kind_of("used_share", nw.Float64()) == "share"
    assert kind_of("matured_rate", nw.Float64()) == "share"
    assert kind_of("stock_send_rule_max_count", nw.Int64()) == "count"
    assert kind_of("coupon_code", nw.Int64()) == "id"
    assert kind_of("sequential_usage_info_available_days", nw.Int64()) == "count"
