"""The declared schemas: they cover the API, and every frame has them."""

import datetime as dt
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow as pa
import pytest

from wxcoupon_analytics.entities.fields import Field
from wxcoupon_analytics.entities.schemas import ENTITIES, TIME, describe, frame_from_rows, lookup, to_frame, to_table
from wxcoupon_analytics.errors import SnapshotError, ValidationError

BEIJING = ZoneInfo("Asia/Shanghai")
EVERY_ENTITY = pytest.mark.parametrize("entity", list(ENTITIES))


def facts() -> dict[str, set[str]]:
    paths: dict[str, set[str]] = {}
    for line in Path(__file__).with_name("api_paths.txt").read_text("utf-8").splitlines():
        if line.startswith("[") and line.endswith("]") and "." not in line:
            found = paths.setdefault(line[1:-1], set())
        elif line and not line.startswith("#"):
            found.add(line)
    return paths


def leaves(fields: tuple[Field, ...], prefix: str = "") -> set[str]:
    found = set()
    for field in fields:
        path = f"{prefix}{field.name}" + ("[]" if field.kind in {"rows", "texts"} else "")
        found |= leaves(field.fields, f"{path}.") if field.fields else {path}
    return found


@EVERY_ENTITY
def test_every_field_of_both_flavours_is_declared(entity):
    assert facts()[entity] - leaves(ENTITIES[entity].fields) == set()


@EVERY_ENTITY
def test_every_declared_field_has_a_column_of_its_own(entity):
    schema = ENTITIES[entity]
    assert len(set(schema.names)) == len(schema.names)
    sources = {column.source.replace("[]", "") for column in schema.columns}
    for leaf in leaves(schema.fields):
        column, in_list, _ = leaf.partition("[]")
        assert column in sources or column == "product_coupon.product_coupon_id" or column.startswith("stock."), leaf
        assert bool(in_list) == any(c.source == f"{column}[]" for c in schema.columns), leaf


@EVERY_ENTITY
def test_columns_are_keys_then_the_api_then_what_is_added(entity):
    schema = ENTITIES[entity]
    assert schema.names[: len(schema.key)] == schema.key
    assert schema.names[-3:] == ("fetched_at", "fetched_day", "extra")
    tree = [field.name for field in schema.fields if field.name not in {*schema.key, "product_coupon", "stock"}]
    of_api = [column.source.split(".")[0] for column in schema.columns if column.name not in schema.key]
    assert list(dict.fromkeys(name for name in of_api if name in tree)) == tree


@EVERY_ENTITY
@pytest.mark.parametrize("rows", [0, 1])
def test_dtypes_hold_however_few_rows(entity, rows):
    frame = frame_from_rows(entity, [{}] * rows)
    assert frame.columns.tolist() == list(ENTITIES[entity].names)
    assert {c.name: frame[c.name].dtype for c in ENTITIES[entity].columns} == {
        c.name: c.dtype for c in ENTITIES[entity].columns
    }
    assert not any(pd.api.types.is_float_dtype(dtype) or pd.api.types.is_object_dtype(dtype) for dtype in frame.dtypes)
    assert to_table(entity, frame).schema.equals(ENTITIES[entity].arrow, check_metadata=True)


def test_dtypes_are_those_of_the_public_interface():
    dtypes = describe("stocks").set_index("column")["dtype"]
    assert dtypes["state"] == "string"
    assert dtypes["stock_send_rule_max_count"] == "Int64"
    assert dtypes["sequential_usage_rule_special_first"] == "boolean"
    assert dtypes["deactivate_time"] == "datetime64[us, Asia/Shanghai]"


@EVERY_ENTITY
def test_every_number_has_a_unit_and_every_column_a_label(entity):
    columns = describe(entity)
    numbers = columns[columns["dtype"] == "Int64"]
    assert (numbers["unit"] != "").all()
    assert (columns["label"] != "").all()


def test_the_members_of_a_list_have_their_units():
    columns = describe("product_coupons").set_index("column")
    assert columns.loc["display_info_combo_package_list", "unit"] == (
        "pick_count: count, choice_list.price: fen, choice_list.count: count"
    )


def test_an_unknown_entity_is_refused_with_those_there_are():
    with pytest.raises(ValidationError, match=r"'coupons'.*product_coupons, stocks, user_coupons"):
        describe("coupons")


class TestFrameFromRows:
    def test_takes_times_as_text_or_datetimes(self):
        text, aware = "2025-08-02T00:00+08:00", dt.datetime(2025, 8, 2, tzinfo=BEIJING)
        frame = frame_from_rows("user_coupons", [{"receive_time": text}, {"receive_time": aware}, {}])
        assert frame["receive_time"].tolist()[:2] == [aware, aware]
        assert frame["receive_time"].isna().tolist() == [False, False, True]

    def test_takes_lists_with_times_inside(self):
        column = "single_usage_rule_coupon_available_period_irregular_available_period_list"
        begin = dt.datetime(2025, 8, 15, tzinfo=dt.UTC)
        frame = frame_from_rows("stocks", [{column: [{"begin_time": begin}]}])
        assert to_table("stocks", frame)[column].to_pylist() == [[{"begin_time": begin, "end_time": None}]]

    def test_takes_nothing_among_lists_with_times_inside(self):
        column = "single_usage_rule_coupon_available_period_irregular_available_period_list"
        frame = frame_from_rows("stocks", [{column: [None, {"begin_time": None}]}, {column: None}])
        empty = {"begin_time": None, "end_time": None}
        assert to_table("stocks", frame)[column].to_pylist() == [[None, empty], None]

    def test_refuses_members_that_the_objects_of_a_list_do_not_have(self):
        packages = [{"name": "n", "choice_list": [{"price": 1, "colour": "red"}]}]
        with pytest.raises(ValidationError, match="display_info_combo_package_list.*no member colour"):
            frame_from_rows("product_coupons", [{"display_info_combo_package_list": packages}])

    def test_the_day_is_the_beijing_day_of_fetched_at(self):
        frame = frame_from_rows("stocks", [{"fetched_at": "2025-08-01T16:00:00Z"}, {"fetched_at": None}])
        assert frame["fetched_day"].iloc[0] == dt.date(2025, 8, 2)
        assert frame["fetched_day"].isna().tolist() == [False, True]

    @pytest.mark.parametrize(
        "row",
        [
            {"no_such_column": 1},
            {"receive_time": "2025-08-02T00:00:00"},
            {"receive_time": dt.datetime(2025, 8, 2)},  # noqa: DTZ001 (what must be refused)
            {"single_usage_detail_saved_amount": 12.5},
            {"coupon_code": 7},
        ],
        ids=["column", "naive text", "naive datetime", "fraction of a fen", "number as text"],
    )
    def test_refuses_what_does_not_fit(self, row):
        with pytest.raises(ValidationError, match=next(iter(row))):
            frame_from_rows("user_coupons", [row])


class TestToTable:
    def frame(self):
        return frame_from_rows("stocks", [{"stock_id": "1", "stock_send_rule_max_count": 5}])

    def test_is_the_inverse_of_to_frame(self):
        frame = self.frame()
        pd.testing.assert_frame_equal(to_frame("stocks", to_table("stocks", frame)), frame)

    def test_casts_what_loses_nothing(self):
        frame = self.frame().astype({"stock_send_rule_max_count": "float64", "stock_id": "object"})
        frame["fetched_at"] = pd.DatetimeIndex(["2025-08-02T00:00:00Z"]).as_unit("ns")
        frame["fetched_day"] = [dt.date(2025, 8, 2)]
        table = to_table("stocks", frame)
        assert table.schema.equals(lookup("stocks").arrow)
        assert table["fetched_at"].to_pylist() == [dt.datetime(2025, 8, 2, 8, tzinfo=BEIJING)]
        assert table["stock_send_rule_max_count"].to_pylist() == [5]

    @pytest.mark.parametrize(
        ("column", "values"),
        [
            ("stock_send_rule_max_count", [0.5]),
            ("stock_send_rule_max_count", ["many"]),
            ("stock_id", [1]),
            ("fetched_at", pd.to_datetime(["2025-08-02"])),
            ("fetched_at", [dt.datetime(2025, 8, 2)]),  # noqa: DTZ001 (what must be refused)
            ("fetched_at", ["2025-08-02"]),
            ("fetched_at", [5]),
            ("fetched_at", [dt.date(2025, 8, 2)]),
            ("fetched_day", pd.to_datetime(["2025-08-02T00:00+08:00"])),
            ("stock_send_rule_max_count", pd.to_datetime(["2025-08-02T00:00+08:00"])),
            ("stock_send_rule_max_count", [True]),
            ("sequential_usage_rule_special_first", [1]),
            ("sequential_usage_rule_special_first", ["true"]),
            ("remark", [dt.date(2025, 8, 2)]),
            ("remark", pd.Categorical([5])),
            ("usage_rule_display_info_coupon_usage_method_list", ["APP"]),
            ("usage_rule_display_info_coupon_usage_method_list", [[5]]),
            ("sequential_usage_rule_normal_coupon_list", [["10"]]),
            ("sequential_usage_rule_normal_coupon_list", [[{"threshold": 10, "cap": 5}]]),
            ("sequential_usage_rule_normal_coupon_list", [[{"threshold": True}]]),
        ],
        ids=str,
    )
    def test_refuses_what_would_be_a_guess_by_the_columns_name(self, column, values):
        frame = self.frame()
        frame[column] = values
        with pytest.raises(SnapshotError, match=column):
            to_table("stocks", frame)

    def test_an_id_that_went_through_a_float_is_refused_with_what_to_do(self):
        frame = self.frame().assign(stock_id=[1000000013001.0])
        with pytest.raises(SnapshotError, match="stock_id.*read them again, as text"):
            to_table("stocks", frame)

    @pytest.mark.parametrize(
        ("column", "values", "stored"),
        [
            ("stock_id", pd.Categorical(["1"]), "1"),
            ("stock_send_rule_max_count", ["5"], 5),
            ("stock_send_rule_max_count", pd.Categorical(["5"]), 5),
            ("stock_send_rule_max_count", pd.array([5], "UInt8"), 5),
            ("fetched_at", ["2025-08-02T00:00:00+08:00"], dt.datetime(2025, 8, 2, tzinfo=BEIJING)),
            ("fetched_day", ["2025-08-02"], dt.date(2025, 8, 2)),
            ("remark", [None], None),
            ("remark", [float("nan")], None),
            ("sequential_usage_rule_normal_coupon_list", [[{"threshold": 1.0, "discount_amount": None}]], ...),
        ],
        ids=str,
    )
    def test_takes_what_can_mean_one_thing_only(self, column, values, stored):
        (found,) = to_table("stocks", self.frame().assign(**{column: values}))[column].to_pylist()
        assert found == ([{"threshold": 1, "discount_amount": None}] if stored is ... else stored)

    def test_names_missing_and_unknown_columns(self):
        with pytest.raises(SnapshotError, match="stock_id, remark missing"):
            to_table("stocks", self.frame().drop(columns=["stock_id", "remark"]))
        with pytest.raises(SnapshotError, match="no column margin"):
            to_table("stocks", self.frame().assign(margin=1))

    def test_columns_may_come_in_any_order(self):
        frame = self.frame()
        assert to_table("stocks", frame[frame.columns[::-1]]).equals(to_table("stocks", frame))


def test_times_from_another_engine_come_back_in_beijing():
    table = to_table("stocks", frame_from_rows("stocks", [{"fetched_at": "2025-08-02T00:00:00+08:00"}]))
    at = table.schema.get_field_index("fetched_at")
    in_utc = table.set_column(at, "fetched_at", table["fetched_at"].cast(pa.timestamp("us", "UTC")))
    assert to_table("stocks", to_frame("stocks", in_utc))["fetched_at"].type == TIME
