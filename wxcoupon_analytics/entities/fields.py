"""What the product-coupon API says, field by field: the one place that names API fields.

Four trees, written as the API nests them. Each line is a name, the API's own Chinese label and, for numbers, the unit.
They are the union of both flavours and both generations of multi-use coupons, because live accounts answer with
either: ``sequential_*`` (one coupon used in rounds) and ``progressive_bundle_*`` (several coupons tied together).

A field the API grows belongs here and nowhere else; until it is here, it is kept in the ``extra`` column.

Sources: the partner pages' response fields (``GET product-coupons/{product_coupon_id}``, ``…/stocks``,
``users/{openid}/coupons`` and ``…/confirm``) and the types of the official brand samples (``ProductCouponEntity``,
``StockEntity``, ``StockEntityInBundle``, ``UserProductCouponEntity``); for notifications, the partner's page
https://pay.weixin.qq.com/doc/v3/partner/4016435717.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "time", "number", "flag", "texts", "group", "rows"]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an answer; a ``group`` is a JSON object, ``rows`` a list of objects, ``texts`` a list of strings."""

    name: str
    label: str
    kind: Kind
    unit: str = ""
    fields: tuple[Field, ...] = ()


def text(name: str, label: str) -> Field:
    """Declare a string; enumerations are strings too, so that values not known yet survive."""
    return Field(name, label, "text")


def time(name: str, label: str) -> Field:
    """Declare an RFC 3339 time."""
    return Field(name, label, "time")


def number(name: str, label: str, unit: str) -> Field:
    """Declare an integer; money is integer fen, never a float."""
    return Field(name, label, "number", unit)


def flag(name: str, label: str) -> Field:
    """Declare true or false."""
    return Field(name, label, "flag")


def texts(name: str, label: str) -> Field:
    """Declare a list of strings."""
    return Field(name, label, "texts")


def group(name: str, label: str, *fields: Field) -> Field:
    """Declare a nested object; its fields become columns ``<name>_<field>``."""
    return Field(name, label, "group", fields=fields)


def rows(name: str, label: str, *fields: Field) -> Field:
    """Declare a list of objects; it stays one list column."""
    return Field(name, label, "rows", fields=fields)


# The three ways a coupon takes money off: 满减 (an amount off), 折扣 (a percentage off), 兑换 (bought at a price).
NORMAL = (number("threshold", "门槛金额", "fen"), number("discount_amount", "固定减免金额", "fen"))
DISCOUNT = (number("threshold", "门槛金额", "fen"), number("percent_off", "固定减免百分比", "percent"))
EXCHANGE = (number("threshold", "门槛金额", "fen"), number("exchange_price", "固定兑换价格", "fen"))

ONE_RULE = (
    group("normal_coupon", "满减券使用规则", *NORMAL),
    group("discount_coupon", "折扣券使用规则", *DISCOUNT),
    group("exchange_coupon", "兑换券使用规则", *EXCHANGE),
)
RULE_PER_USE = (
    rows("normal_coupon_list", "满减券使用规则列表", *NORMAL),
    rows("discount_coupon_list", "折扣券使用规则列表", *DISCOUNT),
    rows("exchange_coupon_list", "兑换券使用规则列表", *EXCHANGE),
    flag("special_first", "多次优惠是否提供首笔特惠"),
)

AVAILABLE_PERIOD = group(
    "coupon_available_period",
    "券可核销时间",
    time("available_begin_time", "开始时间"),
    time("available_end_time", "结束时间"),
    number("available_days", "生效后N天内有效", "days"),
    number("available_seconds", "领取后N秒内有效", "seconds"),
    number("wait_days_after_receive", "领取后N天开始生效", "days"),
    number("interval_days", "多次优惠使用间隔天数", "days"),
    group(
        "weekly_available_period",
        "每周固定可用时间",
        texts("day_list", "每周可用星期数"),
        rows(
            "day_period_list",
            "当天可用时间段",
            number("begin_time", "当天可用开始时间", "seconds of the day"),
            number("end_time", "当天可用结束时间", "seconds of the day"),
        ),
    ),
    rows(
        "irregular_available_period_list",
        "无规律的可用时间段",
        time("begin_time", "开始时间"),
        time("end_time", "结束时间"),
    ),
)

PRODUCT_COUPON = (
    text("product_coupon_id", "商品券ID"),
    text("brand_id", "品牌ID"),
    text("scope", "优惠范围"),
    text("type", "商品券类型"),
    text("usage_mode", "使用模式"),
    group(
        "single_usage_info",
        "单券模式信息",
        group("normal_coupon", "满减券使用规则", *NORMAL),
        group("discount_coupon", "折扣券使用规则", *DISCOUNT),
    ),
    group(
        "sequential_usage_info",
        "多次优惠模式信息",
        text("type", "多次优惠规则类型"),
        number("count", "可使用次数", "count"),
        number("available_days", "多次优惠有效天数", "days"),
        number("interval_days", "多次优惠使用间隔天数", "days"),
    ),
    group(
        "progressive_bundle_usage_info",
        "多次优惠模式信息",
        number("count", "可使用次数", "count"),
        number("interval_days", "多次优惠使用间隔天数", "days"),
    ),
    group(
        "display_info",
        "展示信息",
        text("name", "商品券名称"),
        text("image_url", "商品券图片"),
        text("background_url", "商品券背景图"),
        texts("detail_image_url_list", "商品券详情图列表"),
        number("original_price", "商品原价", "fen"),
        rows(
            "combo_package_list",
            "套餐组合",
            text("name", "套餐名"),
            number("pick_count", "可选单品数量", "count"),
            rows(
                "choice_list",
                "单品列表",
                text("name", "单品名称"),
                number("price", "单品价格", "fen"),
                number("count", "单品数量", "count"),
                text("image_url", "单品图片"),
                text("mini_program_appid", "单品跳转小程序AppID"),
                text("mini_program_path", "单品跳转小程序路径"),
            ),
        ),
    ),
    text("out_product_no", "外部商品ID"),
    text("state", "商品券状态"),
    text("deactivate_request_no", "失效请求单号"),
    time("deactivate_time", "失效时间"),
    text("deactivate_reason", "失效原因"),
)

STOCK = (
    text("product_coupon_id", "商品券ID"),
    text("stock_id", "批次ID"),
    text("brand_id", "品牌ID"),
    text("remark", "备注"),
    text("coupon_code_mode", "券Code分配模式"),
    group(
        "coupon_code_count_info",
        "品牌方预上传的券Code数量信息",
        number("total_count", "已上传的Code总数", "count"),
        number("available_count", "当前可用的Code", "count"),
    ),
    group(
        "stock_send_rule",
        "发放规则",
        number("max_count", "发放次数总上限", "count"),
        number("max_count_per_day", "每日发放次数上限", "count"),
        number("max_count_per_user", "每个用户领取次数上限", "count"),
    ),
    group("single_usage_rule", "单券使用规则", AVAILABLE_PERIOD, *ONE_RULE),
    group("sequential_usage_rule", "多次优惠使用规则", AVAILABLE_PERIOD, *RULE_PER_USE),
    group("progressive_bundle_usage_rule", "多次优惠使用规则", AVAILABLE_PERIOD, *ONE_RULE, *RULE_PER_USE),
    group(
        "stock_bundle_info",
        "批次组信息",
        text("stock_bundle_id", "批次组ID"),
        number("stock_bundle_index", "批次在批次组内的次序", "index from 0"),
    ),
    group(
        "usage_rule_display_info",
        "券使用规则展示信息",
        texts("coupon_usage_method_list", "券使用方式列表"),
        text("mini_program_appid", "小程序AppID"),
        text("mini_program_path", "小程序跳转路径"),
        text("app_path", "APP的H5跳转路径"),
        text("app_jump_type", "APP跳转类型"),
        text("passcode_link", "口令链接"),
        text("usage_description", "券使用说明"),
        group(
            "coupon_available_store_info",
            "券可用门店信息",
            text("description", "券可用门店描述"),
            text("mini_program_appid", "小程序AppID"),
            text("mini_program_path", "小程序跳转路径"),
        ),
    ),
    group(
        "coupon_display_info",
        "用户商品券展示信息",
        text("code_display_mode", "用户商品券Code展示模式"),
        text("background_color", "背景颜色"),
        group(
            "entrance_mini_program",
            "小程序入口",
            text("appid", "小程序AppID"),
            text("path", "小程序跳转路径"),
            text("entrance_wording", "入口文案"),
            text("guidance_wording", "引导文案"),
        ),
        group("entrance_official_account", "公众号入口", text("appid", "公众号AppID")),
        group(
            "entrance_finder",
            "视频号入口",
            text("finder_id", "视频号ID"),
            text("finder_video_id", "视频号视频ID"),
            text("finder_video_cover_image_url", "视频号封面图"),
        ),
    ),
    group("notify_config", "事件通知配置", text("notify_appid", "事件通知AppID")),
    text("store_scope", "可用门店范围"),
    group(
        "sent_count_info",
        "已发放次数",
        number("total_count", "已发放总次数", "count"),
        number("today_count", "当天已发放次数", "count, restarts at Beijing midnight"),
    ),
    text("state", "批次状态"),
    text("deactivate_request_no", "失效请求单号"),
    time("deactivate_time", "失效时间"),
    text("deactivate_reason", "失效原因"),
)

USE_OF_COUPON = (
    text("use_request_no", "券核销请求单号"),
    time("use_time", "核销时间"),
    text("return_request_no", "退券请求单号"),
    time("return_time", "退券时间"),
    group(
        "associated_order_info",
        "关联微信支付订单信息",
        text("transaction_id", "微信支付单号"),
        text("out_trade_no", "商户订单号"),
        text("mchid", "商户号"),
        text("sub_mchid", "子商户号"),
    ),
)
PAY_SCORE_ORDER = group(
    "associated_pay_score_order_info",
    "券核销的关联微信支付分订单信息",
    text("order_id", "微信支付服务订单号"),
    text("out_order_no", "商户服务订单号"),
    text("out_trade_no", "商户订单号"),
    text("mchid", "商户号"),
    text("sub_mchid", "子商户号"),
)
ROUNDS = (
    number("total_count", "总可使用次数", "count"),
    number("used_count", "已使用次数", "count"),
    rows(
        "detail_item_list",
        "轮次使用详情列表",
        text("detail_state", "轮次使用详情状态"),
        time("valid_begin_time", "有效期开始时间"),
        time("valid_end_time", "有效期结束时间"),
        *USE_OF_COUPON,
        time("delete_time", "删除时间"),
    ),
)

# What ends in one of these stays so. USED does not belong here: a return (退券) makes it EFFECTIVE again.
FINAL_STATES = ("EXPIRED", "DELETED", "DEACTIVATED")

USER_COUPON = (
    text("brand_id", "品牌ID"),
    text("coupon_code", "用户商品券Code"),
    text("coupon_state", "用户商品券状态"),
    time("valid_begin_time", "有效期开始时间"),
    time("valid_end_time", "有效期结束时间"),
    time("receive_time", "领券时间"),
    text("send_request_no", "发券请求单号"),
    text("send_channel", "发券渠道"),
    text("confirm_request_no", "确认请求单号"),
    time("confirm_time", "确认发放时间"),
    text("deactivate_request_no", "失效请求单号"),
    time("deactivate_time", "失效时间"),
    text("deactivate_reason", "失效原因"),
    group(
        "single_usage_detail",
        "单券使用详情",
        *USE_OF_COUPON,
        PAY_SCORE_ORDER,
        number("saved_amount", "优惠金额", "fen"),
    ),
    group("sequential_usage_detail", "多次优惠使用详情", *ROUNDS),
    group("progressive_bundle_usage_detail", "多次优惠使用详情", *USE_OF_COUPON, PAY_SCORE_ORDER, *ROUNDS),
    group(
        "user_product_coupon_bundle_info",
        "用户券组信息",
        text("user_coupon_bundle_id", "用户券组ID"),
        number("user_coupon_bundle_index", "用户券组内索引", "index from 0"),
        number("total_count", "总可使用次数", "count"),
        number("used_count", "已使用次数", "count"),
    ),
    text("attach", "自定义附加信息"),
    text("channel_custom_info", "渠道自定义信息"),
    group(
        "coupon_tag_info",
        "用户商品券标签信息",
        texts("coupon_tag_list", "用户商品券标签列表"),
        group("member_tag_info", "会员标签信息", text("member_card_id", "会员卡模板ID")),
    ),
    # Echoes of the coupon's stock and product coupon: only what identifies them is the coupon's own.
    group("product_coupon", "商品券信息", text("product_coupon_id", "商品券ID")),
    group("stock", "批次信息", text("product_coupon_id", "商品券ID"), text("stock_id", "批次ID")),
)

# What a notification (商品券回调通知) says: its envelope, whom it is about, and of the coupon whatever it carries. The page
# of the SEND notification has all ids flat, beside the coupon's own fields; others may nest as queries answer.
USER_COUPON_EVENT = (
    text("event_id", "通知ID"),
    text("event_type", "通知类型"),
    text("event", "事件"),
    time("event_time", "通知创建时间"),
    text("brand_id", "品牌ID"),
    text("openid", "用户OpenID"),
    text("appid", "AppID"),
    text("stock_id", "批次ID"),
    text("product_coupon_id", "商品券ID"),
    *(field for field in USER_COUPON if field.name not in {"brand_id", "product_coupon", "stock"}),
    text("stock_bundle_id", "批次组ID"),
    text("user_coupon_bundle_id", "用户券组ID"),
    text("unionid", "用户UnionID"),
    text("country_code", "领券手机国际区号"),
    text("phone_number", "领券手机号"),
    text("summary", "回调摘要"),
)
