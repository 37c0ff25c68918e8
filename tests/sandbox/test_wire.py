"""What stands in a path or a query arrives byte for byte, lists come in pages, rates are limited."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote, unquote

import pytest

from wxcoupon_analytics.sandbox import Sandbox

from .caller import Caller, product_request

AWKWARD = "o/a?b%c&d@e f+g=h#张三😀%2F"


@pytest.fixture(scope="module")
def ids(caller: Caller) -> tuple[str, str]:
    return caller.create()


def test_an_awkward_openid_is_signed_sent_stored_and_found(caller: Caller, ids: tuple[str, str]) -> None:
    sent = caller.send(ids, AWKWARD)
    assert sent.status == 200
    logged = caller.box.requests()[-1]
    raw = caller.path(f"users/{quote(AWKWARD, safe='')}/coupons")
    assert logged["path"] == raw
    assert "%2F" in raw
    assert logged["request_no"] == sent.json["send_request_no"]
    assert AWKWARD in caller.box.openids()
    listed = caller.get(f"users/{quote(AWKWARD, safe='')}/coupons?appid={caller.box.appid}")
    assert listed.json["total_count"] == 1
    assert caller.coupon(ids, AWKWARD, sent.json["coupon_code"]).status == 200


def test_encoding_the_same_openid_differently_is_another_signature_but_the_same_user(
    caller: Caller, ids: tuple[str, str]
) -> None:
    caller.send(ids, "o-a~b")
    for spelled in ("o-a~b", "o-a%7Eb", "o-a%7eb", "%6f-a~b"):
        listed = caller.get(f"users/{spelled}/coupons?appid={caller.box.appid}")
        assert listed.json["total_count"] == 1
        assert caller.box.requests()[-1]["path"].startswith(caller.path(f"users/{spelled}/"))


def test_bytes_that_are_no_utf8_are_a_parameter_error(caller: Caller) -> None:
    reply = caller.get(f"users/%FF%FE/coupons?appid={caller.box.appid}")
    assert (reply.status, reply.json["code"]) == (400, "PARAM_ERROR")


@pytest.fixture(scope="module")
def full_wallet(caller: Caller) -> tuple[tuple[str, str], list[str]]:
    body = product_request(caller.new_number(), max_count_per_user=100)
    ids = caller.create(body)
    with ThreadPoolExecutor(4) as pool:
        replies = pool.map(lambda _: caller.send(ids, "oWallet", verify=False), range(53))
    return ids, [reply.json["coupon_code"] for reply in replies]


def pages(caller: Caller, query: str) -> Iterator[dict[str, object]]:
    token: str | None = ""
    while token is not None:
        more = f"&page_token={quote(token, safe='')}" if token else ""
        reply = caller.get(f"users/oWallet/coupons?appid={caller.box.appid}{query}{more}")
        assert reply.status == 200, reply.json
        yield reply.json
        token = reply.json.get("next_page_token")


@pytest.mark.parametrize(
    ("query", "sizes"), [("", [20, 20, 13]), ("&page_size=50", [50, 3]), ("&page_size=1", [1] * 53)]
)
def test_every_coupon_comes_once_over_all_pages(
    caller: Caller, full_wallet: tuple[tuple[str, str], list[str]], query: str, sizes: list[int]
) -> None:
    lists = [page["user_coupon_list"] for page in pages(caller, query)]
    assert [len(page) for page in lists] == sizes  # type: ignore[arg-type]
    codes = [coupon["coupon_code"] for page in lists for coupon in page]  # type: ignore[attr-defined]
    assert sorted(codes) == sorted(full_wallet[1])


def test_a_page_token_needs_encoding(caller: Caller, full_wallet: tuple[tuple[str, str], list[str]]) -> None:
    token = next(pages(caller, ""))["next_page_token"]
    assert isinstance(token, str)
    assert {"+", "/", "="} <= set(token)
    path = f"users/oWallet/coupons?appid={caller.box.appid}&page_token="
    assert caller.get(path + quote(token, safe="")).status == 200
    assert unquote(caller.box.requests()[-1]["path"]).endswith(token)
    unencoded = caller.get(path + token)  # a "+" in a query is a space
    assert (unencoded.status, unencoded.json["code"]) == (400, "PARAM_ERROR")


def test_a_token_belongs_to_its_question(caller: Caller, full_wallet: tuple[tuple[str, str], list[str]]) -> None:
    token = next(pages(caller, ""))["next_page_token"]
    other = f"users/oWallet/coupons?appid={caller.box.appid}&coupon_state=CONFIRMING&page_token={quote(str(token), safe='')}"
    assert caller.get(other).status == 400


def test_a_coupon_sent_between_two_pages_neither_repeats_nor_hides_another(caller: Caller) -> None:
    ids = caller.create(product_request(caller.new_number(), max_count_per_user=100))
    first = [caller.send(ids, "oGrowing").json["coupon_code"] for _ in range(5)]
    path = f"users/oGrowing/coupons?appid={caller.box.appid}&page_size=3"
    page = caller.get(path).json
    late = caller.send(ids, "oGrowing").json["coupon_code"]
    rest = caller.get(f"{path}&page_token={quote(page['next_page_token'], safe='')}").json
    codes = [coupon["coupon_code"] for part in (page, rest) for coupon in part["user_coupon_list"]]
    assert codes == [*first, late]
    assert "next_page_token" not in rest


@pytest.mark.parametrize("size", ["0", "51", "-1", "x", ""])
def test_a_page_size_out_of_range_is_refused_in_the_page_s_words(
    caller: Caller, ids: tuple[str, str], size: str
) -> None:
    reply = caller.get(f"product-coupons/{ids[0]}/stocks?page_size={size}")
    assert (reply.status, reply.json["code"]) == (400, "PARAM_ERROR")
    assert reply.json["message"].startswith("分页大小超出限制")


def test_lists_filter(caller: Caller, full_wallet: tuple[tuple[str, str], list[str]], ids: tuple[str, str]) -> None:
    caller.send(ids, "oWallet")
    path = f"users/oWallet/coupons?appid={caller.box.appid}"
    assert caller.get(path).json["total_count"] == 54
    assert caller.get(f"{path}&stock_id={ids[1]}").json["total_count"] == 1
    assert caller.get(f"{path}&product_coupon_id={full_wallet[0][0]}").json["total_count"] == 53
    assert caller.get(f"{path}&coupon_state=USED").json["total_count"] == 0
    assert caller.get(f"{path}&coupon_state=NEW").json["code"] == "PARAM_ERROR"
    assert caller.get(f"users/oNobody/coupons?appid={caller.box.appid}").json == {
        "total_count": 0,
        "user_coupon_list": [],
    }


def test_stocks_filter_by_state_and_page(reader: Caller) -> None:
    every = reader.get("product-coupons/1000000014/stocks").json
    assert every["total_count"] == 4
    paused = reader.get("product-coupons/1000000014/stocks?state=PAUSED").json
    assert [stock["state"] for stock in paused["stock_list"]] == ["PAUSED"]
    assert reader.get("product-coupons/1000000014/stocks?state=OVER").json["code"] == "PARAM_ERROR"
    bundle = "product-coupons/1000000019/stocks?stock_bundle_id="
    assert reader.get(bundle + "91000000019").json["total_count"] == 3
    assert reader.get(bundle + "1").json["total_count"] == 0


def test_what_the_brand_is_may_be_asked_twenty_times_a_second_each(tmp_path: Path) -> None:
    with Sandbox(population=False) as box:
        caller = Caller(box, tmp_path)
        target = caller.path("product-coupons/1")
        headers = caller.headers(caller.authorization("GET", target, b""))
        replies = [caller.raw("GET", target, b"", headers) for _ in range(40)]
        refused = [reply for reply in replies if reply.status == 429]
        assert 14 <= len(refused) <= 20
        assert [reply.status for reply in replies[:20]] == [404] * 20
        assert refused[0].json == {"code": "RATELIMIT_EXCEEDED", "message": "请求超过接口频率限制"}
        assert refused[0].numeric == 270924289
        assert caller.authentic(refused[0])
        users = caller.path("users/o/coupons?appid=" + box.appid)  # another endpoint, another bucket
        headers["Authorization"] = caller.authorization("GET", users, b"")
        assert {caller.raw("GET", users, b"", headers).status for _ in range(100)} == {200}


def test_a_brand_s_list_filters_by_bundle(reader: Caller, box: Sandbox, tmp_path: Path) -> None:
    truth = box._control("GET", "truth?entity=user_coupons")
    row = next(row for row in truth if "user_product_coupon_bundle_info" in row)
    bundle = row["user_product_coupon_bundle_info"]["user_coupon_bundle_id"]
    path = f"users/{quote(row['openid'], safe='')}/coupons?appid={box.appid}"
    every = reader.get(path).json["total_count"]
    mine = reader.get(f"{path}&user_coupon_bundle_id={bundle}").json
    assert mine["total_count"] == 3
    ties = [coupon["user_product_coupon_bundle_info"] for coupon in mine["user_coupon_list"]]
    assert {tie["user_coupon_bundle_id"] for tie in ties} == {bundle}
    assert reader.get(f"{path}&user_coupon_bundle_id=1").json["total_count"] == 0
    service = Caller(box, tmp_path, "partner")  # whose page does not list the filter
    assert service.get(f"{path}&user_coupon_bundle_id={bundle}").json["total_count"] == every
