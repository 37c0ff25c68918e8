"""WeChat Pay product coupons (微信支付商品券) for analysts: signed API → frames → Parquet snapshots → numbers.

Everything a notebook needs is here, under ``import wxcoupon_analytics as wx``. The public names stand in ``__init__.pyi``
and load on first use, so that importing costs milliseconds and a missing extra hurts only whoever needs it.
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
