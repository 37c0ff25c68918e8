"""The route table, written from the endpoint facts, apart from the client's; a test holds it against a copy of them."""

from __future__ import annotations

from dataclasses import dataclass

from wxcoupon_analytics.sandbox.keys import FLAVOURS, PARTNER, Flavour

SLOW, FAST = 20, 500  # requests a second: for what the brand is, and for what its users hold


@dataclass(frozen=True)
class Endpoint:
    """One endpoint; ``operation`` names the method of Operations."""

    operation: str
    name: str  # the pages' own
    method: str
    path: str  # below the flavour's prefix
    rate: int
    flavours: tuple[Flavour, ...] = FLAVOURS
    names_brand: bool = True  # False: the partner acts for itself, and need not say for which brand
    uploads: bool = False  # a multipart body, of which the ``meta`` part is signed


_PRODUCT = "product-coupons/{product_coupon_id}"
_STOCK = _PRODUCT + "/stocks/{stock_id}"
_BUNDLE = _PRODUCT + "/stock-bundles/{stock_bundle_id}"
_COUPON = "users/{openid}/coupons/{coupon_code}"
_USER_BUNDLE = "users/{openid}/coupon-bundles/{user_coupon_bundle_id}"
ENDPOINTS = (  # the busiest first: routing tries them in order
    Endpoint("send_coupon", "向用户发放商品券", "POST", "users/{openid}/coupons", FAST),
    Endpoint("list_user_coupons", "指定券状态查询用户商品券列表", "GET", "users/{openid}/coupons", FAST),
    Endpoint("get_user_coupon", "查询用户商品券详情", "GET", _COUPON, FAST),
    Endpoint("confirm_coupon", "确认发放用户商品券", "POST", _COUPON + "/confirm", FAST),
    Endpoint("use_coupon", "核销用户商品券", "POST", _COUPON + "/use", FAST),
    Endpoint("return_coupon", "退券", "POST", _COUPON + "/return", FAST),
    Endpoint("deactivate_user_coupon", "失效用户商品券", "POST", _COUPON + "/deactivate", FAST),
    Endpoint("send_coupon_bundle", "向用户发放商品券批次组", "POST", "users/{openid}/coupon-bundles", FAST),
    Endpoint("confirm_coupon_bundle", "确认发放用户商品券(多次优惠)", "POST", _USER_BUNDLE + "/confirm", FAST),
    Endpoint("deactivate_coupon_bundle", "失效用户商品券组", "POST", _USER_BUNDLE + "/deactivate", FAST),
    Endpoint("pre_send_coupon", "向用户预发放商品券", "POST", "users/{openid}/pre-send-coupon", FAST),
    Endpoint(
        "pre_send_coupon_bundle",
        "向用户预发放商品券批次组",
        "POST",
        "users/{openid}/pre-send-coupon-bundle",
        FAST,
        flavours=(PARTNER,),
    ),
    Endpoint("get_stock", "查询商品券指定批次", "GET", _STOCK, SLOW),
    Endpoint("list_stocks", "查询商品券批次列表", "GET", _PRODUCT + "/stocks", SLOW),
    Endpoint("get_product_coupon", "查询商品券", "GET", _PRODUCT, SLOW),
    Endpoint("create_product_coupon", "创建商品券", "POST", "product-coupons", SLOW),
    Endpoint("update_product_coupon", "修改商品券", "PATCH", _PRODUCT, SLOW),
    Endpoint("deactivate_product_coupon", "失效商品券", "POST", _PRODUCT + "/deactivate", SLOW),
    Endpoint("create_stock", "添加商品券批次", "POST", _PRODUCT + "/stocks", SLOW),
    Endpoint("update_stock", "修改商品券指定批次", "PATCH", _STOCK, SLOW),
    Endpoint("deactivate_stock", "失效商品券批次", "POST", _STOCK + "/deactivate", SLOW),
    Endpoint("update_stock_budget", "修改商品券批次发放预算", "POST", _STOCK + "/update-budget", SLOW),
    Endpoint("upload_coupon_codes", "预上传券Code", "POST", _STOCK + "/upload-coupon-codes", SLOW),
    Endpoint("associate_stores", "批次关联门店", "POST", _STOCK + "/associate-stores", SLOW),
    Endpoint("list_associated_stores", "查询批次关联门店列表", "GET", _STOCK + "/associated-stores", SLOW),
    Endpoint("disassociate_stores", "批次取消关联门店", "POST", _STOCK + "/disassociate-stores", SLOW),
    Endpoint("create_stock_bundle", "添加商品券批次组", "POST", _PRODUCT + "/stock-bundles", SLOW),
    Endpoint("update_stock_bundle", "修改商品券批次组", "PATCH", _BUNDLE, SLOW),
    Endpoint("update_bundle_budget", "修改商品券批次组发放预算", "POST", _BUNDLE + "/update-budget", SLOW),
    Endpoint("associate_bundle_stores", "批次组批量关联门店", "POST", _BUNDLE + "/associate-stores", SLOW),
    Endpoint("disassociate_bundle_stores", "批次组批量取消关联门店", "POST", _BUNDLE + "/disassociate-stores", SLOW),
    Endpoint("set_notify_config", "设置商品券事件通知地址", "POST", "notify-configs", SLOW, names_brand=False),
    Endpoint("get_notify_config", "获取商品券事件通知地址", "GET", "notify-configs", SLOW, names_brand=False),
    Endpoint("upload_image", "图片上传", "POST", "media/upload-image", SLOW, names_brand=False, uploads=True),
)
