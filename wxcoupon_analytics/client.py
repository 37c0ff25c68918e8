"""The client: one set of credentials, one event loop, and the three things a user does with them."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable, Sequence
from datetime import datetime
from os import PathLike
from typing import Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import wxcoupon_analytics
from wxcoupon_analytics.actions.direct import Actions
from wxcoupon_analytics.actions.journal import Journal, default_path
from wxcoupon_analytics.api import Api
from wxcoupon_analytics.credentials import Credentials
from wxcoupon_analytics.errors import CredentialsError, ValidationError
from wxcoupon_analytics.events import Notifications
from wxcoupon_analytics.fetch import Fetch
from wxcoupon_analytics.fetch.known import sent_to
from wxcoupon_analytics.loop import BackgroundLoop
from wxcoupon_analytics.wire.exchange import Exchange
from wxcoupon_analytics.wire.transport import AiohttpTransport

BEIJING = ZoneInfo("Asia/Shanghai")
HOSTS = ("https://api.mch.weixin.qq.com", "https://api2.mch.weixin.qq.com")


def connect(
    credentials: Credentials,
    *,
    hosts: Sequence[str] | None = None,
    timeout: float = 10.0,
    rate: float | None = None,
    journal: str | PathLike[str] | None = None,
    clock: Callable[[], datetime] | None = None,
    strict_enums: bool = True,
) -> Client:
    """Connect to WeChat Pay as a brand or a partner. Nothing is sent yet.

    Parameters
    ----------
    credentials : Credentials
    hosts : sequence of str, optional
        Tried in order. ``http://`` is refused except to this machine's loopback. Default: those that
        :meth:`Credentials.load` found beside the keys, else the platform's two.
    timeout : float
        Seconds to connect, and to wait for each piece of an answer.
    rate : float, optional
        Requests a second for every endpoint, instead of the documented limits (20 for product coupons and stocks, 500
        for users' coupons). Set it lower when other systems use the same credentials.
    journal : path, optional
        Where actions are recorded. Default: one file per user and brand in the user's state folder, so that all
        notebooks share it; with loopback hosts a temporary one.
    clock : callable, optional
        Business time, for the embedded brand and for tests; must return aware datetimes.
    strict_enums : bool
        Whether a value that no page lists is refused in a write (True) or warned about (False): the API invents new ones.

    Returns
    -------
    Client
        With ``.api`` (one method an endpoint), ``.fetch`` (frames) and ``.actions`` (sends, deactivations). Usable as a
        context manager, from any thread, and inside a notebook.

    Raises
    ------
    ValidationError
        A host is not ``https://``, or the rate or timeout is not positive.
    JournalError
        The journal cannot be opened.

    Examples
    --------
    >>> import wxcoupon_analytics as wx
    >>> with wx.Sandbox(seed=7) as box, wx.connect(box.brand_credentials, hosts=box.hosts, clock=box.now) as client:
    ...     coupon = client.api.get_product_coupon(box.truth("product_coupons")["product_coupon_id"][0])
    >>> coupon["state"]
    'EFFECTIVE'
    """
    return Client(
        credentials,
        hosts=hosts,
        timeout=timeout,
        rate=rate,
        journal=journal,
        clock=clock,
        strict_enums=strict_enums,
    )


class Client:
    """A connection made by :func:`connect`.

    Attributes
    ----------
    api : Api
        The wire: one method per endpoint, dicts in and out.
    fetch : Fetch
        Frames.
    actions : Actions
        What changes the world.
    notifications : Notifications
        What the platform posted to your own server: one at a time, or a log of them.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        hosts: Sequence[str] | None,
        timeout: float,
        rate: float | None,
        journal: str | PathLike[str] | None,
        clock: Callable[[], datetime] | None,
        strict_enums: bool,
    ) -> None:
        if not isinstance(credentials, Credentials):
            raise CredentialsError(f"connect needs Credentials, not {type(credentials).__name__}: see wx.Credentials")
        if hosts is None:
            hosts = credentials.hosts or HOSTS
        if isinstance(hosts, str) or not hosts:
            raise ValidationError(
                'hosts must be a list or tuple of URLs, for example ("https://api.mch.weixin.qq.com",)'
            )
        loopback = [check_host(host) for host in hosts]
        for name, value in (("timeout", timeout), ("rate", rate)):
            if value is not None and not (isinstance(value, int | float) and math.isfinite(value) and value > 0):
                raise ValidationError(f"{name} must be a positive number, not {value!r}")
        self.credentials = credentials
        self._clock = clock
        self._loop = BackgroundLoop()
        exchange = Exchange(
            credentials,
            hosts,
            timeout=timeout,
            rate=rate,
            transport=AiohttpTransport(),
            user_agent=f"wxcoupon-analytics/{wxcoupon_analytics.__version__}",
        )
        self._loop.on_close(exchange.aclose)
        self._journal = Journal(
            journal or (None if all(loopback) else default_path(credentials)), brand_id=credentials.brand_id
        )
        self.api = Api(self._loop, exchange, strict_enums=strict_enums)
        self.fetch = Fetch(self._loop, exchange, clock=clock, sends=lambda: sent_to(self._journal.frame()))
        self.actions = Actions(self.api, self._journal, now=self.now)
        self.notifications = Notifications(credentials)

    def now(self) -> datetime:
        """Business time: the clock this client was given, else the present; aware, in Asia/Shanghai."""
        return (self._clock() if self._clock else datetime.now(BEIJING)).astimezone(BEIJING)

    def close(self) -> None:
        """Close connections and journal; calls still running in other threads are cancelled."""
        self._loop.close()
        self._journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client {self.credentials!r}{' closed' if self._loop.closed else ''}>"


def check_host(host: str) -> bool:
    """Refuse a host that is not https, unless it is this machine; say whether it is."""
    try:
        parts = urlsplit(host)
        _ = parts.port  # raises when it is none
    except (ValueError, AttributeError):
        raise ValidationError(f"{host!r} is no host: give a URL like https://api.mch.weixin.qq.com") from None
    try:
        loopback = parts.hostname == "localhost" or ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        loopback = False
    if not parts.hostname or parts.path.strip("/") or parts.query or parts.username:
        raise ValidationError(
            f"a host is a scheme and a name, like https://api.mch.weixin.qq.com, not {parts.hostname or host!r}"
        )
    if parts.scheme != "https" and not (parts.scheme == "http" and loopback):
        raise ValidationError(
            f"{parts.scheme}://{parts.hostname}: only https:// is spoken to any host but this machine's loopback"
        )
    return loopback
