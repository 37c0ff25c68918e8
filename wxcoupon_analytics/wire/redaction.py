"""Openids stay out of logs: httpx writes every URL at INFO, and ours hold the user."""

from __future__ import annotations

import logging
import re

_OPENID = re.compile(r"(/users/)([^/?]+)")


def mask(text: str) -> str:
    """Replace all but the last four characters of the openid in a URL.

    >>> mask("/brand/marketing/product-coupon/users/oh-394z-6CGkNoJrsDLTTUKiAnp4/coupons")
    '/brand/marketing/product-coupon/users/…Anp4/coupons'
    """
    return _OPENID.sub(lambda m: f"{m[1]}…{m[2][-4:] if len(m[2]) > 8 else ''}", text)


class _MaskOpenid(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if "/users/" in (text := record.getMessage()):
            record.msg, record.args = mask(text), None
        return True


def tame_httpx_log() -> None:
    """Mask openids in what httpx logs; once per process."""
    logger = logging.getLogger("httpx")
    if not any(isinstance(f, _MaskOpenid) for f in logger.filters):
        logger.addFilter(_MaskOpenid())
