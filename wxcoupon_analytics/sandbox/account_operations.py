"""What belongs to the caller and to no product coupon: the address for events, and images."""

from __future__ import annotations

from urllib.parse import urlsplit

from wxcoupon_analytics.sandbox import fields
from wxcoupon_analytics.sandbox.answers import Parts, to_json
from wxcoupon_analytics.sandbox.clock import rfc3339
from wxcoupon_analytics.sandbox.desk import Call, Desk
from wxcoupon_analytics.sandbox.refusals import not_found, param_error
from wxcoupon_analytics.sandbox.uploads import checked_image

_IMAGES = "https://wxpaylogo.qpic.cn/wxpaylogo/{}/0"


class AccountOperations(Desk):
    """The brand's and the service provider's own settings."""

    def set_notify_config(self, call: Call) -> Parts:
        """设置商品券事件通知地址: each caller has its own."""
        url = fields.text(call.body, "notify_url", most=256)
        try:
            parts = urlsplit(url)
        except ValueError:
            parts = urlsplit("")
        if parts.scheme != "https" or not parts.netloc:
            raise param_error("/notify_url", "must be an https:// URL", value=url)
        self._books.notify[call.flavour.name] = (url, call.now)
        return self.get_notify_config(call)

    def get_notify_config(self, call: Call) -> Parts:
        """获取商品券事件通知地址."""
        kept = self._books.notify.get(call.flavour.name)
        if kept is None:
            raise not_found("未设置商品券事件通知地址")
        return (to_json({"notify_url": kept[0], "update_time": rfc3339(kept[1])}),)

    def upload_image(self, call: Call) -> Parts:
        """图片上传: the same picture has the same address. The box keeps none of them."""
        return (to_json({"image_url": _IMAGES.format(checked_image(call.body, call.file))}),)
