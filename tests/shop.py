"""What a test brand sells."""

from __future__ import annotations


def product_coupon(number: str = "create_1", *, mode: str = "WECHATPAY", **rule: int) -> dict[str, object]:
    return {
        "out_request_no": number,
        "scope": "ALL",
        "type": "NORMAL",
        "usage_mode": "SINGLE",
        "single_usage_info": {"normal_coupon": {"threshold": 20000, "discount_amount": 5000}},
        "display_info": {
            "name": "全场满200减50",
            "image_url": "https://wxpaylogo.qpic.cn/a/b",
            "background_url": "https://wxpaylogo.qpic.cn/a/b",
        },
        "stock": {
            "remark": "8月工作日有效批次",
            "coupon_code_mode": mode,
            "stock_send_rule": {"max_count": 1000, "max_count_per_user": 50, **rule},
            "single_usage_rule": {
                "coupon_available_period": {
                    "available_begin_time": "2026-11-01T00:00:00+08:00",
                    "available_end_time": "2026-11-30T23:59:59+08:00",
                }
            },
            "usage_rule_display_info": {"coupon_usage_method_list": ["OFFLINE"], "usage_description": "全场可用"},
            "coupon_display_info": {"code_display_mode": "QRCODE"},
            "store_scope": "NONE",
            "notify_config": {"notify_appid": "wx4fd12345678"},
        },
    }
