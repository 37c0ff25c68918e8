"""Flattening: recorded answers, drifted answers, wrong answers."""

import datetime as dt
import json
import warnings
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from tests.entities.answers import coupon, extra, recorded, values
from wxcoupon_analytics.entities.flatten import Page, SchemaDriftWarning, flatten, flatten_pages, to_frame
from wxcoupon_analytics.entities.schemas import ENTITIES
from wxcoupon_analytics.errors import ValidationError

BEIJING = ZoneInfo("Asia/Shanghai")
NOW = dt.datetime(2026, 11, 2, 0, 30, tzinfo=BEIJING)


class TestRecordedAnswers:
    def test_a_sent_coupon_with_an_empty_object_where_details_are_absent(self):
        frame = flatten(
            "user_coupons",
            recorded("send_coupon.response.member"),
            brand_id="120344",
            openid="o-1",
            appid="wx1",
            fetched_at=NOW,
        )
        assert values("user_coupons", frame) == {
            "brand_id": "120344",
            "stock_id": "1000000013001",
            "coupon_code": "Code_123456",
            "product_coupon_id": "1000000013",
            "openid": "o-1",
            "appid": "wx1",
            "coupon_state": "CONFIRMING",
            "valid_begin_time": dt.datetime(2025, 8, 2, tzinfo=BEIJING),
            "valid_end_time": dt.datetime(2025, 8, 31, 23, 59, 59, tzinfo=BEIJING),
            "receive_time": dt.datetime(2025, 8, 2, tzinfo=BEIJING),
            "send_request_no": "MCHSEND202003101234",
            "send_channel": "API",
            "attach": "any attach content",
            "coupon_tag_info_coupon_tag_list": ["MEMBER"],
            "coupon_tag_info_member_tag_info_member_card_id": "MemberCardId_1234567890",
            "fetched_at": NOW,
            "fetched_day": dt.date(2026, 11, 2),
        }

    def test_a_stock_with_rules_of_every_type_and_a_time_without_seconds(self):
        row = values("stocks", flatten("stocks", recorded("deactivate_stock.response")))
        assert row["deactivate_time"] == dt.datetime(2025, 1, 1, tzinfo=BEIJING)
        assert row["single_usage_rule_normal_coupon_discount_amount"] == 100
        assert row["single_usage_rule_discount_coupon_percent_off"] == 30
        assert row["single_usage_rule_exchange_coupon_exchange_price"] == 100
        assert row["sequential_usage_rule_normal_coupon_list"] == [{"threshold": 10000, "discount_amount": 100}]
        assert row["sequential_usage_rule_special_first"] is False
        period = "single_usage_rule_coupon_available_period_"
        assert row[period + "weekly_available_period_day_period_list"] == [{"begin_time": 60, "end_time": 86399}]
        assert row[period + "irregular_available_period_list"] == [
            {
                "begin_time": dt.datetime(2025, 1, 1, tzinfo=BEIJING),
                "end_time": dt.datetime(2025, 10, 1, tzinfo=BEIJING),
            }
        ]
        assert "extra" not in row

    def test_a_product_coupon_of_the_partner_flavour(self):
        payload = recorded("get_product_coupon.partner.response")
        row = values("product_coupons", flatten("product_coupons", payload, brand_id="of the question"))
        assert row["brand_id"] == "120344", "the answer's own brand wins"
        assert row["sequential_usage_info_count"] == 10
        assert row["display_info_original_price"] == 10000
        (package,) = row["display_info_combo_package_list"]
        assert package["choice_list"][0]["price"] == 10000
        assert "extra" not in row

    def test_every_leaf_of_a_recorded_stock_is_in_a_column(self):
        row = values("stocks", flatten("stocks", recorded("deactivate_stock.response")))

        def leaves(value, path):
            if isinstance(value, dict):
                for name, inner in value.items():
                    yield from leaves(inner, f"{path}_{name}" if path else name)
            else:
                yield path

        assert set(leaves(json.loads(recorded("deactivate_stock.response")), "")) == set(row)


class TestPayloads:
    def test_one_entity_a_page_and_lists_of_either_are_the_same(self):
        one, two = coupon(coupon_code="a"), coupon(coupon_code="b")
        page = {"total_count": 2, "user_coupon_list": [one, two]}
        expected = flatten("user_coupons", page, brand_id="1")
        forms = [
            [one, two],
            [json.dumps(one), json.dumps(two).encode()],
            json.dumps([one, two]),
            [json.dumps(page, indent=1).encode()],
            ({"user_coupon_list": [one]}, {"user_coupon_list": [two], "next_page_token": None}),
            [[one], two],
        ]
        for form in forms:
            pd.testing.assert_frame_equal(flatten("user_coupons", form, brand_id="1"), expected)

    @pytest.mark.parametrize(
        "nothing",
        [[], {}, b"{ }", "[]", {"total_count": 0}, {"user_coupon_list": None}, {"user_coupon_list": []}],
        ids=str,
    )
    def test_nothing_is_an_empty_frame_with_every_column(self, nothing):
        frame = flatten("user_coupons", nothing)
        assert frame.shape == (0, len(ENTITIES["user_coupons"].columns))
        assert frame["receive_time"].dtype == "datetime64[us, Asia/Shanghai]"

    @pytest.mark.parametrize(
        ("payload", "says"),
        [
            (b"\xff{}", "not UTF-8"),
            (b"<html>502 Bad Gateway</html>", "not JSON.*<html>"),
            (b"", "not JSON"),
            (b"null", "not NoneType"),
            (b"5", "not int"),
            ('"text"', "not str"),
            ([5], "not int"),
            ("[[null]]", "not NoneType"),
            (None, "not NoneType"),
            (b'{"stock_id": "1"}, {"stock_id": "2"}', "not JSON"),
            (b'{"stock_list": []} {"stock_list": []}', "not JSON"),
            (b'{"stock_list": []}\nnull\n', "not JSON"),
            (b'{"stock_id": "1"', "not JSON"),
            (b'{"stock_id": NaN}', "not JSON.*NaN"),
            ({"stock_id": float("nan")}, "not what JSON can say"),
            ({"stock_id": {1, 2}}, "not what JSON can say"),
            ("\ud800", "not JSON"),
            (b'{"a":' * 100_000, "not JSON"),
        ],
        ids=lambda value: str(value)[:30],
    )
    def test_what_is_no_answer_is_refused_with_what_came(self, payload, says):
        with pytest.raises(ValidationError, match=says):
            flatten("stocks", payload)

    def test_half_an_answer_does_not_make_a_whole_with_the_next(self):
        halves = [b'{"stock_list": [{"stock_id": "1"}', b'{"stock_id": "2"}]}']
        with pytest.raises(ValidationError, match="not JSON"):
            flatten_pages("stocks", [Page(half, NOW, "1") for half in halves])

    def test_the_answer_to_a_bundle_sent_is_a_page_of_its_coupons(self):
        answer = {"user_coupon_bundle_id": "b", "user_product_coupon_list": [coupon(), coupon(coupon_code="d")]}
        frame = flatten("user_coupons", answer, openid="o")
        assert frame[["coupon_code", "stock_id", "openid"]].to_numpy().tolist() == [["c", "70", "o"], ["d", "70", "o"]]
        assert extra(frame) == [None, None]
        assert flatten("stocks", answer)["stock_id"].tolist() == ["70"]

    def test_a_coupons_product_coupon_is_named_by_its_own_echo_first(self):
        both = coupon(product_coupon={"product_coupon_id": "of its own"})
        assert flatten("user_coupons", both)["product_coupon_id"].tolist() == ["of its own"]
        assert flatten("user_coupons", coupon(product_coupon={}))["product_coupon_id"].tolist() == ["7"]

    def test_a_naive_time_of_fetching_is_refused(self):
        with pytest.raises(ValidationError, match="no time zone"):
            flatten("stocks", {}, fetched_at=NOW.replace(tzinfo=None))

    def test_pages_keep_their_order_and_their_own_context(self):
        pages = [
            Page(json.dumps({"user_coupon_list": [coupon(coupon_code=f"{n}{m}") for m in "ab"]}).encode(), at, "1", n)
            for n, at in (("x", NOW), ("y", NOW - dt.timedelta(hours=1)))
        ]
        pages.insert(1, Page(json.dumps(coupon(coupon_code="single")).encode(), NOW, "2", "z"))
        rows = flatten_pages("user_coupons", pages).select(["coupon_code", "openid", "brand_id"]).to_pylist()
        assert [tuple(row.values()) for row in rows] == [
            ("xa", "x", "1"),
            ("xb", "x", "1"),
            ("single", "z", "2"),
            ("ya", "y", "1"),
            ("yb", "y", "1"),
        ]
        days = to_frame("user_coupons", flatten_pages("user_coupons", pages))["fetched_day"].tolist()
        assert days == [dt.date(2026, 11, 2)] * 3 + [dt.date(2026, 11, 1)] * 2


class TestDrift:
    def test_unknown_fields_are_kept_nested_and_warned_about_once(self):
        drifted = coupon(new="x", single_usage_detail={"use_time": "2025-08-02T00:00:00Z", "device": {"id": 1}})
        with pytest.warns(SchemaDriftWarning) as caught:
            frame = flatten("user_coupons", [drifted, coupon()])
        assert extra(frame) == [{"new": "x", "single_usage_detail": {"device": {"id": 1}}}, None]
        assert sorted(str(w.message).split("'")[1] for w in caught) == ["new", "single_usage_detail.device"]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            flatten("user_coupons", drifted)

    def test_drift_inside_the_echoes_is_no_event(self):
        echo = {"product_coupon_id": "7", "stock_id": "70", "new": {"deep": [1]}, "remark": 5}
        frame = flatten("user_coupons", [coupon(stock=echo), coupon(stock=echo, attach=5)])
        assert frame["stock_id"].tolist() == ["70", "70"]
        assert extra(frame) == [None, None]

    def test_an_echo_that_is_no_object_is_kept(self):
        with pytest.warns(SchemaDriftWarning, match="'stock'"):
            frame = flatten("user_coupons", coupon(stock="70"))
        assert frame["stock_id"].isna().all()
        assert extra(frame) == [{"stock": "70"}]

    def test_echoes_are_told_apart_wherever_they_differ(self):
        long = {"product_coupon_id": "7" * 90}
        coupons = [coupon(stock={**long, "stock_id": f"{n % 3}", "n": n}) for n in range(9)]
        frame = flatten("user_coupons", {"user_coupon_list": coupons})
        assert frame["stock_id"].tolist() == [f"{n % 3}" for n in range(9)]

    def test_text_that_looks_like_an_echo_stays_text(self):
        for text in ('{"stock": {"stock_id": "no"}}', ',"stock":{', '\\","stock":{"a":1}', "user_coupon_list"):
            frame = flatten("user_coupons", coupon(attach=text))
            assert frame["attach"].tolist() == [text]
            assert frame["stock_id"].tolist() == ["70"]

    @pytest.mark.parametrize(
        ("field", "came", "column", "left"),
        [
            ("max_count", "100", 100, None),
            ("max_count", 100.0, 100, None),
            ("max_count", -(2**63), -(2**63), None),
            ("max_count", 2**63, None, 2**63),
            ("max_count", 12.5, None, 12.5),
            ("max_count", "12.5", None, "12.5"),
            ("max_count", "007", None, "007"),
            ("max_count", "٣", None, "٣"),
            ("max_count", 2.0**53, None, 2.0**53),
            ("max_count", True, None, True),
            ("max_count", {}, None, {}),
            ("max_count", [1], None, [1]),
            ("max_count", "", None, ""),
        ],
    )
    def test_a_number_is_coerced_when_nothing_is_lost(self, field, came, column, left):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SchemaDriftWarning)
            frame = flatten("stocks", {"stock_id": "1", "stock_send_rule": {field: came}})
        assert frame[f"stock_send_rule_{field}"].dtype == "Int64"
        assert values("stocks", frame).get(f"stock_send_rule_{field}") == column
        assert extra(frame) == [None if left is None else {"stock_send_rule": {field: left}}]

    @pytest.mark.parametrize(
        ("came", "column", "left"),
        [(7, "7", None), (2**70, str(2**70), None), (1.5, None, 1.5), (False, None, False), ({}, None, {})],
    )
    def test_a_text_is_coerced_when_nothing_is_lost(self, came, column, left):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SchemaDriftWarning)
            frame = flatten("stocks", {"stock_id": "1", "remark": came})
        assert values("stocks", frame).get("remark") == column
        assert extra(frame) == [None if left is None else {"remark": left}]

    def test_half_a_surrogate_pair_is_kept_as_json_can_say_it(self):
        with pytest.warns(SchemaDriftWarning, match="remark"):
            frame = flatten("stocks", b'{"stock_id": "1", "remark": "\\ud83d"}')
        assert frame["remark"].isna().all()
        assert extra(frame) == [{"remark": "\ud83d"}]

    @pytest.mark.parametrize(
        ("came", "instant"),
        [
            ("2025-01-01T00:00:00+08:00", dt.datetime(2025, 1, 1, tzinfo=BEIJING)),
            ("2025-01-01T00:00+08:00", dt.datetime(2025, 1, 1, tzinfo=BEIJING)),
            ("2024-12-31T16:00:00Z", dt.datetime(2025, 1, 1, tzinfo=BEIJING)),
            ("2025-01-01T00:00:00.25+08:00", dt.datetime(2025, 1, 1, 0, 0, 0, 250_000, tzinfo=BEIJING)),
            ("2025-01-01T00:00:00", None),
            ("2025-01-01", None),
            ("2025-02-30T00:00:00+08:00", None),
            ("2025-01-01T00:00:00.123456789+08:00", None),
            ("", None),
            ("soon", None),
            (1735660800, None),
        ],
    )
    def test_a_time_needs_its_offset(self, came, instant):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SchemaDriftWarning)
            frame = flatten("stocks", {"stock_id": "1", "deactivate_time": came})
        assert values("stocks", frame).get("deactivate_time") == instant
        assert extra(frame) == [None if instant else {"deactivate_time": came}]

    def test_in_a_list_what_fits_stays_and_the_rest_keeps_its_place(self):
        rules = [{"threshold": 1}, {"threshold": "x", "cap": 5}, 7, None]
        with pytest.warns(SchemaDriftWarning) as caught:
            frame = flatten("stocks", {"stock_id": "1", "sequential_usage_rule": {"normal_coupon_list": rules}})
        blank = {"threshold": None, "discount_amount": None}
        assert values("stocks", frame)["sequential_usage_rule_normal_coupon_list"] == [
            {**blank, "threshold": 1},
            blank,
            None,
            None,
        ]
        left = [{}, {"threshold": "x", "cap": 5}, 7, {}]
        assert extra(frame) == [{"sequential_usage_rule": {"normal_coupon_list": left}}]
        assert {str(w.message).split("'")[1] for w in caught} == {
            f"sequential_usage_rule.normal_coupon_list[]{rest}" for rest in ("", ".threshold", ".cap")
        }

    def test_a_null_in_a_list_of_times_is_a_null(self):
        period = {"irregular_available_period_list": [None, {"begin_time": "2025-01-01T00:00:00Z"}, {}]}
        frame = flatten("stocks", {"stock_id": "1", "single_usage_rule": {"coupon_available_period": period}})
        column = "single_usage_rule_coupon_available_period_irregular_available_period_list"
        begin = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
        assert values("stocks", frame)[column] == [
            None,
            {"begin_time": begin, "end_time": None},
            {"begin_time": None, "end_time": None},
        ]

    def test_null_for_a_list_is_a_null_and_an_object_for_a_list_is_kept(self):
        with pytest.warns(SchemaDriftWarning):
            frame = flatten(
                "user_coupons",
                [
                    coupon(coupon_tag_info={"coupon_tag_list": None}),
                    coupon(coupon_tag_info={"coupon_tag_list": {}}),
                    coupon(coupon_tag_info=[]),
                ],
            )
        assert frame["coupon_tag_info_coupon_tag_list"].isna().all()
        assert extra(frame) == [None, {"coupon_tag_info": {"coupon_tag_list": {}}}, {"coupon_tag_info": []}]

    def test_of_a_key_sent_twice_the_last_counts_and_the_others_are_kept(self):
        with pytest.warns(SchemaDriftWarning):
            frame = flatten("stocks", '{"stock_id": "1", "remark": "a", "remark": "b", "remark": "c"}')
        assert frame["remark"].tolist() == ["c"]
        assert extra(frame) == [{"remark#1": "a", "remark#2": "b"}]

    def test_names_made_for_keys_sent_twice_take_no_other_keys_place(self):
        with pytest.warns(SchemaDriftWarning):
            frame = flatten("stocks", '{"stock_id": "1", "a#1": 0, "a": 1, "a": 2, "a": 3}')
        assert extra(frame) == [{"a#1": 0, "a": 3, "a#2": 1, "a#3": 2}]

    def test_a_member_of_a_page_that_is_no_object_is_a_row_of_nothing_but_extra(self):
        with pytest.warns(SchemaDriftWarning):
            frame = flatten("stocks", {"stock_list": [5, None, {"stock_id": "1"}]})
        assert frame["stock_id"].isna().tolist() == [True, False]
        assert extra(frame) == [5, None]

    @pytest.mark.parametrize("members", [[{"stock_id": "1"}], [], None], ids=str)
    def test_what_is_new_about_the_page_itself_is_only_warned_about(self, members):
        page = {"total_count": 0, "offset": 3} | ({} if members is None else {"stock_list": members})
        with pytest.warns(SchemaDriftWarning, match="'offset' beside the list of stocks.*no row and was not kept"):
            frame = flatten("stocks", page)
        assert extra(frame) == [None] * len(members or ())

    def test_what_stands_under_an_echos_name_elsewhere_is_kept_whole(self):
        linked = {"stock": {"stock_id": "1", "remark": "r"}}
        for text in (
            json.dumps(coupon(linked=linked)),
            # As many cuts as echoes, but not the same ones.
            json.dumps(coupon(linked=linked)).replace('"stock": {"product', '"st\\u006fck": {"product'),
        ):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SchemaDriftWarning)
                frame = flatten("user_coupons", text)
            assert extra(frame) == [{"linked": linked}]
            assert frame["stock_id"].tolist() == ["70"]

    def test_an_id_sent_twice_inside_an_echo_is_kept(self):
        echo = '{"coupon_code": "c", "stock": {"stock_id": "1", "remark": "r", "stock_id": "2"}}'
        with pytest.warns(SchemaDriftWarning):
            frame = flatten("user_coupons", echo)
        assert frame["stock_id"].tolist() == ["2"]
        assert extra(frame) == [{"stock": {"stock_id#1": "1"}}]

    @pytest.mark.parametrize("number", ["0.12345678901234567890123", "1e999", "-1E-999", "1" * 5000])
    def test_a_number_stays_as_it_was_written(self, number):
        for text in (f'{{"stock_id": "1", "new": {number}}}', f'[{{"stock_id": "1", "new": {number}}}]'):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SchemaDriftWarning)
                assert flatten("stocks", text)["extra"].tolist() == [f'{{"new":{number}}}']

    @pytest.mark.parametrize("number", ["3.0000000000000000000001", "1e-999999999999999999999", "12.5"])
    def test_a_number_that_only_looks_whole_as_a_float_is_left_over(self, number):
        with pytest.warns(SchemaDriftWarning):
            frame = flatten("stocks", f'{{"stock_id": "1", "stock_send_rule": {{"max_count": {number}}}}}')
        assert frame["stock_send_rule_max_count"].isna().all()
        assert frame["extra"].tolist() == [f'{{"stock_send_rule":{{"max_count":{number}}}}}']

    def test_half_a_surrogate_pair_stays_escaped_among_real_letters(self):
        with pytest.warns(SchemaDriftWarning):
            frame = flatten("stocks", r'{"stock_id": "1", "new": "券\ud800\\"}')
        assert frame["extra"].tolist() == [r'{"new":"券\ud800\\"}']

    @pytest.mark.parametrize("other", ["70", ["70"], 7])
    def test_what_a_product_coupon_calls_stock_is_kept_unless_it_is_one(self, other):
        with pytest.warns(SchemaDriftWarning, match="'stock' in product_coupons"):
            frame = flatten("product_coupons", {"product_coupon_id": "7", "stock": other})
        assert extra(frame) == [{"stock": other}]

    def test_a_page_that_drifted_costs_only_that_page_the_exact_path(self, monkeypatch):
        from wxcoupon_analytics.entities import flatten as module

        read = []
        exactly = module._Reader._exactly
        monkeypatch.setattr(
            module._Reader,
            "_exactly",
            lambda self, texts, places: read.extend(t.whole for t in texts) or exactly(self, texts, places),
        )
        pages = [json.dumps({"stock_list": [{"stock_id": str(n)}]}).encode() for n in range(200)]
        pages[150] = b'{"stock_list": [{"stock_id": 150}]}'
        frame = flatten("stocks", pages)
        assert frame["stock_id"].tolist() == [str(n) for n in range(200)]
        assert read == [pages[150].decode()]
