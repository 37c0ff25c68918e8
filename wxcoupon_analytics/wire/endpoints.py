"""Every endpoint of the product-coupon API, as a table to hold against its pages.

Source: the brand documentation (https://pay.weixin.qq.com/doc/brand/) and the partner documentation
(https://pay.weixin.qq.com/doc/v3/partner/). Paths are relative to the flavour's prefix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PREFIXES = {"brand": "/brand/marketing/product-coupon/", "partner": "/v3/marketing/partner/product-coupon/"}
MAX_PAGE_SIZE = 50

_PRODUCT_COUPON = "product-coupons/{product_coupon_id}"
_STOCK = _PRODUCT_COUPON + "/stocks/{stock_id}"
_BUNDLE = _PRODUCT_COUPON + "/stock-bundles/{stock_bundle_id}"
_USER_COUPON = "users/{openid}/coupons/{coupon_code}"
_USER_BUNDLE = "users/{openid}/coupon-bundles/{user_coupon_bundle_id}"
_PAGE = ("page_size", "page_token")
_ITS_STOCK = ("product_coupon_id", "stock_id")
_ITS_COUPON = ("coupon_code", "stock.stock_id")
# A coupon of one use keeps the number in itself, one of several uses in the round it was for.
_DETAILS = (
    "single_usage_detail",
    "progressive_bundle_usage_detail",
    "progressive_bundle_usage_detail.detail_item_list",
    "sequential_usage_detail.detail_item_list",
)
_USED_IN = tuple(f"{detail}.use_request_no" for detail in _DETAILS)
_RETURNED_IN = tuple(f"{detail}.return_request_no" for detail in _DETAILS)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One operation of the API.

    ``rate`` is the documented limit in requests a second. ``query`` names the parameters a GET may carry; those that end
    in ``*`` must be there. ``items`` is the list field of a paged answer. ``request_no`` is the body field that makes a
    write idempotent. ``rows`` says where each row of a list shows what was asked for. ``echoes`` are fields of the answer that must equal what was asked: an answer's signature does not
    cover the question. ``proof`` is the read, and the fields in it, that show a write's request number once it happened.
    ``names_brand`` is false where a partner does not say for which brand it calls.
    """

    name: str
    label: str
    method: str
    path: str
    rate: int
    query: tuple[str, ...] = ()
    items: str | None = None
    rows: tuple[tuple[str, str], ...] = ()
    request_no: str | None = None
    echoes: tuple[str, ...] = ()
    proof: tuple[str, tuple[str, ...]] | None = None
    flavours: tuple[str, ...] = ("brand", "partner")
    names_brand: bool = True


def _read(name: str, label: str, path: str, rate: int, query: tuple[str, ...] = (), **more: object) -> Endpoint:
    return Endpoint(name, label, "GET", path, rate, query, **more)  # type: ignore[arg-type]


def _write(
    name: str, label: str, path: str, rate: int, number: str | None = "out_request_no", **more: object
) -> Endpoint:
    return Endpoint(name, label, "POST", path, rate, request_no=number, **more)  # type: ignore[arg-type]


def _change(name: str, label: str, path: str, rate: int, **more: object) -> Endpoint:
    return Endpoint(name, label, "PATCH", path, rate, request_no="out_request_no", **more)  # type: ignore[arg-type]


_ALL = (
    # product coupons (商品券)
    _write("create_product_coupon", "创建商品券", "product-coupons", 20),
    _read("get_product_coupon", "查询商品券", _PRODUCT_COUPON, 20, echoes=("product_coupon_id",)),
    _change("update_product_coupon", "修改商品券", _PRODUCT_COUPON, 20, echoes=("product_coupon_id",)),
    _write("deactivate_product_coupon", "失效商品券", _PRODUCT_COUPON + "/deactivate", 20,
           echoes=("product_coupon_id",), proof=("get_product_coupon", ("deactivate_request_no",))),
    # stocks (批次)
    _write("create_stock", "添加商品券批次", _PRODUCT_COUPON + "/stocks", 20, echoes=("product_coupon_id",)),
    _read("list_stocks", "查询商品券批次列表", _PRODUCT_COUPON + "/stocks", 20,
          ("state", "stock_bundle_id", *_PAGE), items="stock_list",
          rows=(("product_coupon_id", "product_coupon_id"), ("state", "state"))),
    _read("get_stock", "查询商品券指定批次", _STOCK, 20, echoes=_ITS_STOCK),
    _change("update_stock", "修改商品券指定批次", _STOCK, 20, echoes=_ITS_STOCK),
    _write("update_stock_budget", "修改商品券批次发放预算", _STOCK + "/update-budget", 20, echoes=_ITS_STOCK),
    _write("deactivate_stock", "失效商品券批次", _STOCK + "/deactivate", 20,
           echoes=_ITS_STOCK, proof=("get_stock", ("deactivate_request_no",))),
    _write("upload_coupon_codes", "预上传券Code", _STOCK + "/upload-coupon-codes", 20),
    _write("associate_stores", "批次关联门店", _STOCK + "/associate-stores", 20, None),
    _read("list_associated_stores", "查询批次关联门店列表", _STOCK + "/associated-stores", 20, _PAGE, items="store_list"),
    _write("disassociate_stores", "批次取消关联门店", _STOCK + "/disassociate-stores", 20, None),
    # stock bundles (批次组)
    _write("create_stock_bundle", "添加商品券批次组", _PRODUCT_COUPON + "/stock-bundles", 20),
    _change("update_stock_bundle", "修改商品券批次组", _BUNDLE, 20, echoes=("stock_bundle_id",)),
    _write("update_stock_bundle_budget", "修改商品券批次组发放预算", _BUNDLE + "/update-budget", 20,
           echoes=("stock_bundle_id",)),
    _write("associate_bundle_stores", "批次组批量关联门店", _BUNDLE + "/associate-stores", 20, None),
    _write("disassociate_bundle_stores", "批次组批量取消关联门店", _BUNDLE + "/disassociate-stores", 20, None),
    # users' coupons (用户商品券)
    _write("send_coupon", "向用户发放商品券", "users/{openid}/coupons", 500, "send_request_no",
           echoes=("send_request_no", "product_coupon.product_coupon_id", "stock.stock_id"),
           proof=("list_user_coupons", ("send_request_no",))),
    _write("pre_send_coupon", "向用户预发放商品券", "users/{openid}/pre-send-coupon", 500, "send_request_no"),
    _read("list_user_coupons", "指定券状态查询用户商品券列表", "users/{openid}/coupons", 500,
          ("appid*", "product_coupon_id", "stock_id", "coupon_state", *_PAGE), items="user_coupon_list",
          rows=(("product_coupon_id", "product_coupon.product_coupon_id"), ("stock_id", "stock.stock_id"),
                ("coupon_state", "coupon_state"))),
    _read("get_user_coupon", "查询用户商品券详情", _USER_COUPON, 500,
          ("product_coupon_id*", "stock_id*", "appid*"), echoes=_ITS_COUPON),
    _write("confirm_coupon", "确认发放用户商品券", _USER_COUPON + "/confirm", 500,
           echoes=_ITS_COUPON, proof=("get_user_coupon", ("confirm_request_no",))),
    _write("use_coupon", "核销用户商品券", _USER_COUPON + "/use", 500,
           echoes=_ITS_COUPON, proof=("get_user_coupon", _USED_IN)),
    _write("return_coupon", "退券", _USER_COUPON + "/return", 500,
           echoes=_ITS_COUPON, proof=("get_user_coupon", _RETURNED_IN)),
    _write("deactivate_coupon", "失效用户商品券", _USER_COUPON + "/deactivate", 500,
           echoes=_ITS_COUPON, proof=("get_user_coupon", ("deactivate_request_no",))),
    # users' coupon bundles (用户商品券组)
    _write("send_coupon_bundle", "向用户发放商品券批次组", "users/{openid}/coupon-bundles", 500, "send_request_no"),
    _write("pre_send_coupon_bundle", "向用户预发放商品券批次组", "users/{openid}/pre-send-coupon-bundle", 500,
           "send_request_no", flavours=("partner",)),
    # No page at hand: path and body by analogy with the single coupon's.
    _write("confirm_coupon_bundle", "确认发放用户商品券(多次优惠)", _USER_BUNDLE + "/confirm", 500),
    _write("deactivate_coupon_bundle", "失效用户商品券组", _USER_BUNDLE + "/deactivate", 500),
    # the brand's own settings
    _write("set_notify_config", "设置商品券事件通知地址", "notify-configs", 20, None, names_brand=False),
    _read("get_notify_config", "获取商品券事件通知地址", "notify-configs", 20, names_brand=False),
    _write("upload_image", "图片上传", "media/upload-image", 20, None, names_brand=False),
)  # fmt: skip
ENDPOINTS: Mapping[str, Endpoint] = {endpoint.name: endpoint for endpoint in _ALL}
