"""Stocks and product coupons that answers about something else hold: taken out, and never over an answer of their own."""

import json

import pytest

from tests.entities.answers import coupon, extra, recorded, stock
from wxcoupon_analytics.entities.flatten import SchemaDriftWarning, flatten


class TestEntitiesNestedInUserCoupons:
    def page(self):
        stocks = [{"product_coupon_id": "7", "stock_id": s, "remark": "r", "new": 1} for s in ("70", "71")]
        coupons = [coupon(coupon_code=str(n), stock=stocks[n % 2]) for n in range(6)]
        return json.dumps({"user_coupon_list": coupons})

    def test_are_taken_out_once_each(self):
        with pytest.warns(SchemaDriftWarning, match="'new' in stocks"):
            stocks = flatten("stocks", self.page(), brand_id="1")
        assert stocks[["brand_id", "product_coupon_id", "stock_id", "remark"]].to_numpy().tolist() == [
            ["1", "7", "70", "r"],
            ["1", "7", "71", "r"],
        ]
        assert extra(stocks) == [{"new": 1}, {"new": 1}]
        products = flatten("product_coupons", [self.page(), self.page()])
        assert products["product_coupon_id"].tolist() == ["7"]

    @pytest.mark.parametrize("readings", [[5, 6], [5, 6, 5]], ids=str)
    @pytest.mark.parametrize("as_page", [True, False])
    def test_of_readings_of_one_stock_the_latest_is_kept(self, readings, as_page):
        coupons = [coupon(stock=stock(sent=n)) for n in readings]
        payload = {"user_coupon_list": coupons} if as_page else coupons
        assert flatten("stocks", payload)["sent_count_info_total_count"].tolist() == readings[-1:]

    @pytest.mark.parametrize("turned", [False, True])
    def test_an_answer_about_the_stock_itself_wins_over_every_echo(self, turned):
        echoing = {"user_coupon_list": [coupon(stock=stock(sent=1)), coupon(stock=stock("71", sent=3))]}
        asked = {"stock_list": [stock(sent=2)]}
        frame = flatten("stocks", [echoing, asked] if turned else [asked, echoing], brand_id="1")
        assert frame[["stock_id", "sent_count_info_total_count"]].to_numpy().tolist() == [["70", 2], ["71", 3]]

    def test_an_echo_without_its_ids_is_nobodys_double(self):
        page = {"user_coupon_list": [coupon(stock={"remark": "r"})] * 2}
        assert flatten("stocks", page)["remark"].tolist() == ["r", "r"]

    def test_escapes_in_their_names_hide_nothing(self):
        page = json.dumps({"user_coupon_list": [coupon(stock=stock(sent=4))]}).replace('"stock"', '"st\\u006fck"')
        frame = flatten("stocks", page)
        assert frame[["stock_id", "sent_count_info_total_count"]].to_numpy().tolist() == [["70", 4]]
        assert flatten("user_coupons", page)["stock_id"].tolist() == ["70"]

    @pytest.mark.parametrize("entity", ["stocks", "product_coupons"])
    @pytest.mark.parametrize(
        "none",
        [
            {"total_count": 0, "user_coupon_list": []},
            {"user_coupon_list": None},
            {"user_coupon_list": [{"coupon_code": "c"}]},
            {"user_product_coupon_list": [{"coupon_code": "c"}], "user_coupon_bundle_id": "b"},
            {"coupon_code": "c"},
        ],
        ids=str,
    )
    def test_user_coupons_without_any_give_no_rows(self, entity, none):
        assert len(flatten(entity, none)) == 0

    def test_a_page_of_stocks_holds_no_product_coupon(self):
        assert len(flatten("product_coupons", {"stock_list": [stock()], "total_count": 1})) == 0

    def test_number_literals_in_them_stay_as_written(self):
        page = '{"user_coupon_list":[{"coupon_code":"c","stock":{"stock_id":"70","new":0.12345678901234567890123}}]}'
        with pytest.warns(SchemaDriftWarning):
            assert flatten("stocks", page)["extra"].tolist() == ['{"new":0.12345678901234567890123}']

    def test_single_coupons_and_answers_to_a_creation_hold_them_too(self):
        payload = recorded("send_coupon.response.ordinary")
        assert flatten("stocks", payload)["stock_id"].tolist() == ["1000000013001"]
        assert flatten("product_coupons", payload)["display_info_name"].tolist() == ["全场满100立打8折-新名字"]
        created = {"product_coupon_id": "7", "stock": {"product_coupon_id": "7", "stock_id": "70"}}
        assert flatten("stocks", created)["stock_id"].tolist() == ["70"]
        bundle = {"stock_bundle_id": "b", "stock_list": [{"stock_id": "70"}, {"stock_id": "71"}]}
        assert flatten("stocks", {"product_coupon_id": "7", "stock_bundle": bundle})["stock_id"].tolist() == [
            "70",
            "71",
        ]
        products = flatten("product_coupons", created)
        assert products["product_coupon_id"].tolist() == ["7"]
        assert extra(products) == [None]
