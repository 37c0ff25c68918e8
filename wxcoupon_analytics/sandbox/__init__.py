"""The embedded brand: WeChat Pay's product-coupon platform on your own machine, for demonstrations, tests and notebooks.

`Sandbox` starts a real HTTP server in a process of its own. The server shares no code with the client: its routes, rules,
signature check and answer signing are written from the API's facts, so that a mistake on either side shows. This module is
the handle that the parent process holds: it starts and ends the server, moves its business clock, reads its books and arms
faults. It imports nothing heavy, because the server process imports it too.
"""

from __future__ import annotations

import importlib.util
import json
import time
import weakref
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import quote
from zoneinfo import ZoneInfo

from wxcoupon_analytics.errors import WxCouponError
from wxcoupon_analytics.sandbox.behaviour import Behaviour, Segment
from wxcoupon_analytics.sandbox.process import ask, launch

if TYPE_CHECKING:
    import pandas as pd

    from wxcoupon_analytics import Client, Credentials
    from wxcoupon_analytics.sandbox.sharing import SharedSandbox

__all__ = ["Behaviour", "Sandbox", "Segment"]

Entity = Literal["product_coupons", "stocks", "user_coupons"]
SHANGHAI = ZoneInfo("Asia/Shanghai")
START = datetime(2026, 11, 2, 10, tzinfo=SHANGHAI)  # a Monday; fixed, so that a seed means the same books every day
_NEEDED = ("starlette", "uvicorn", "httptools")


class Sandbox:
    """A WeChat Pay product-coupon platform of your own, served over signed HTTP on the loopback interface.

    Use it as a context manager, or call `start` and `stop`. The server is a separate process; it ends with this one, however
    this one ends.

    Business time stands still until `advance` moves it, and then everything happens that customers and campaigns do meanwhile.
    Signatures and rate limits stay on the wall clock.

    Parameters
    ----------
    seed : int, default 7
        What chance decides. The same seed, start and calls give the same books.
    start : datetime, optional
        Business time at the start, timezone-aware. Default: Monday 2026-11-02 10:00, Beijing time.
    history_days : int, default 28
        Days of business that have happened before the start.
    population : bool, default True
        A coffee chain with eight product coupons, twenty-two stocks and three thousand customers. False: nothing exists yet.
    behaviour : Behaviour, optional
        What is true of these customers: how they come, by weekday, whether they confirm, and how they use and delete, by
        segment and weekday. It is the box's attribute ``behaviour``.
    tick : bool, default False
        Let business time also run with the wall clock.
    rate_limits : bool, default True
        Enforce 20 and 500 requests a second per endpoint.
    port : int, default 0
        The port on 127.0.0.1; 0 takes a free one.

    Notes
    -----
    What is created through the API passes its audit ten business minutes later. An openid is any text; two users in three are
    members of the brand. A brand caller must not send ``brand_id``, a partner must, as on the platform.

    Examples
    --------
    >>> import wxcoupon_analytics as wx
    >>> with wx.Sandbox(population=False) as box:
    ...     box.advance(hours=1).isoformat()
    '2026-11-02T11:00:00+08:00'
    """

    def __init__(
        self,
        *,
        seed: int = 7,
        start: datetime | None = None,
        history_days: int = 28,
        population: bool = True,
        behaviour: Behaviour | None = None,
        tick: bool = False,
        rate_limits: bool = True,
        port: int = 0,
    ) -> None:
        begin = START if start is None else start
        if begin.tzinfo is None:
            raise ValueError(f"start must be timezone-aware, not {begin!r}; add tzinfo=ZoneInfo('Asia/Shanghai')")
        if history_days < 0:
            raise ValueError(f"history_days must not be negative, not {history_days}")
        if behaviour is not None and not population:
            raise ValueError("behaviour= is of customers, and population=False has none: leave one of them out")
        self.behaviour = behaviour or Behaviour()
        self._seed = seed
        self._start = int(begin.timestamp())
        self._business = (self._start, 0.0)  # business time, and the wall time at which it was that
        self._tick = tick
        self._arguments = [
            f"--seed={seed}",
            f"--start={self._start}",
            f"--history-days={history_days}",
            f"--port={port}",
        ]
        self._arguments += [f"--behaviour={json.dumps(self.behaviour.to_document())}"] if population else []
        self._arguments += ["--tick"] if tick else []
        self._arguments += [] if rate_limits else ["--no-rate-limits"]
        self._greeting: dict[str, Any] | None = None
        self._end: weakref.finalize[..., Any] | None = None

    @classmethod
    def shared(cls) -> SharedSandbox:
        """Give the brand that ``wxcoupon lab`` or ``wxcoupon sandbox`` serves, else one that this process shares.

        What a notebook starts with: run again, it finds the brand, and the journal of what was done to it, as it left them.

        Returns
        -------
        SharedSandbox
            The one whose configuration ``WXCOUPON_CONFIG`` names; without it the same one at every call, of seed 7. Its
            ``folder`` is the place for snapshots of it: the next brand finds it empty.

        Raises
        ------
        WxCouponError
            The one that ``WXCOUPON_CONFIG`` names is not served any more, or as for `start`.

        Examples
        --------
        >>> import wxcoupon_analytics as wx
        >>> with wx.Sandbox.shared() as box:
        ...     box is wx.Sandbox.shared()
        True
        """
        from wxcoupon_analytics.sandbox.sharing import shared

        return shared()

    def __repr__(self) -> str:
        state = f"serving {self.hosts[0]}, {self.now().isoformat()}" if self._greeting else "not started"
        return f"<Sandbox {state}>"

    def __enter__(self) -> Sandbox:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Sandbox:
        """Start the server process and wait until it accepts connections.

        Returns
        -------
        Sandbox
            This one.

        Raises
        ------
        WxCouponError
            The ``sandbox`` extra is not installed, or the server could not start (the port is taken, for example).
        """
        if self._greeting is not None:
            return self
        missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
        if missing:
            raise WxCouponError(
                f"the embedded brand needs {', '.join(missing)}: pip install 'wxcoupon-analytics[sandbox]'"
            )
        greeting, self._end = launch(self, self._arguments)
        self._business = (self._start, greeting["clock_set_at"])
        self._greeting = greeting
        return self

    def stop(self) -> None:
        """End the server process; nothing of it remains. Stopping twice is fine."""
        self._greeting = None
        self.__dict__.pop("brand_credentials", None)
        self.__dict__.pop("partner_credentials", None)
        if self._end is not None:
            self._end()

    @property
    def hosts(self) -> tuple[str, ...]:
        """Where it serves, as `wxcoupon_analytics.connect` wants it."""
        return (f"http://127.0.0.1:{self._known['port']}",)

    @property
    def brand_id(self) -> str:
        """The brand (品牌ID)."""
        return str(self._known["brand"]["identity"])

    @property
    def mchid(self) -> str:
        """The service provider's merchant number (服务商商户号)."""
        return str(self._known["partner"]["identity"])

    @property
    def appid(self) -> str:
        """The appid under which the users' openids are valid, the only one bound to the brand."""
        return str(self._known["appid"])

    @cached_property
    def brand_credentials(self) -> Credentials:
        """The brand's own credentials."""
        import wxcoupon_analytics as wx

        return wx.Credentials.brand(brand_id=self.brand_id, **self._keys("brand"))

    @cached_property
    def partner_credentials(self) -> Credentials:
        """The credentials of a service provider who acts for the brand."""
        import wxcoupon_analytics as wx

        return wx.Credentials.partner(mchid=self.mchid, brand_id=self.brand_id, **self._keys("partner"))

    def client(self, *, flavour: Literal["brand", "partner"] = "brand", **options: Any) -> Client:
        """Connect to this brand; the client's clock is the brand's.

        Parameters
        ----------
        flavour : {"brand", "partner"}
            Which face of the API to use.
        **options
            Further options of `wxcoupon_analytics.connect`.

        Returns
        -------
        Client
            A connected client.
        """
        import wxcoupon_analytics as wx

        credentials = self.brand_credentials if flavour == "brand" else self.partner_credentials
        return wx.connect(credentials, **{"hosts": self.hosts, "clock": self.now, **options})

    def now(self) -> datetime:
        """Return business time, in Asia/Shanghai; no request is made."""
        at, set_at = self._business
        passed = int(time.time() - set_at) if self._tick and self._greeting else 0
        return datetime.fromtimestamp(at + passed, SHANGHAI)

    def advance(self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0) -> datetime:
        """Move business time forward; everything that is due meanwhile happens.

        Parameters
        ----------
        days, hours, minutes, seconds : float, default 0
            How far; together not negative.

        Returns
        -------
        datetime
            The new business time.
        """
        step = round(timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds).total_seconds())
        answer = self._control("POST", "advance", {"seconds": step})
        self._business = (answer["now"], time.time())
        return self.now()

    def openids(self) -> list[str]:
        """Return every user who holds or ever held a coupon, in the order of their first."""
        return cast("list[str]", self._control("GET", "openids"))

    def customers(self) -> pd.DataFrame:
        """Return the brand's own file of its customers, which no coupon API knows: to group coupons by what they are.

        Returns
        -------
        DataFrame
            ``openid`` (string) and ``segment`` (string), one row a customer, whether or not a coupon was ever received. Empty
            for a brand without a population.

        Examples
        --------
        >>> import wxcoupon_analytics as wx
        >>> with wx.Sandbox(history_days=0) as box:
        ...     sorted(box.customers()["segment"].unique()) == sorted(box.behaviour.segments)
        True
        """
        import pandas as pd

        return pd.DataFrame(self._control("GET", "customers"), columns=["openid", "segment"]).astype(
            pd.StringDtype("pyarrow")
        )

    def appeals(self) -> dict[str, float]:
        """Return the truth of every stock that an analysis may look for: the share of holders who mean to use a coupon.

        Returns
        -------
        dict of str to float
            By ``stock_id``. Without a population nobody uses anything, and it is empty.

        Examples
        --------
        >>> import wxcoupon_analytics as wx
        >>> with wx.Sandbox(history_days=0) as box:
        ...     box.appeals()["1000000013001"]
        0.34
        """
        return cast("dict[str, float]", self._control("GET", "appeals"))

    def foreign_openids(self) -> list[str]:
        """Return users of some other appid: sending to them is refused (传入的OpenID不合法)."""
        return list(self._known["foreign_openids"])

    def truth(self, entity: Entity) -> pd.DataFrame:
        """Return the books themselves, as a frame with the columns that fetching gives.

        Parameters
        ----------
        entity : {"product_coupons", "stocks", "user_coupons"}
            Which frame.

        Returns
        -------
        DataFrame
            One row an entity, complete; the counters of stocks are worked out by counting coupons, and ``fetched_at`` is
            business time now.
        """
        from wxcoupon_analytics.entities import schemas

        rows = self._control("GET", f"truth?entity={quote(entity)}")
        return schemas.frame_from_rows(entity, (dict(_flat(row)) for row in rows))

    def orders(
        self,
        openids: Iterable[str],
        *,
        stock_id: str,
        since: datetime,
        rate: float = 0.2,
        lift: float = 0.05,
        amount_fen: int = 3_000,
    ) -> pd.DataFrame:
        """Return what users ordered at the brand's own till, with a coupon's true effect known: for `holdout_lift`.

        No coupon API knows of orders; a brand takes them from its own books. Here each user orders once from ``since`` to now
        with probability ``rate``; one who got a coupon of the stock since then, with ``rate + lift``, after getting it. As
        long before ``since`` everybody orders with ``rate``. Amounts are log-normal, and the same for all.

        Parameters
        ----------
        openids : iterable of str
            The users; each is counted once. They need not hold anything.
        stock_id : str
            The stock whose coupons move them.
        since : aware datetime
            When it began, normally the ``assigned_at`` of a plan; before business time now.
        rate, lift : float, default 0.2 and 0.05
            Probabilities.
        amount_fen : int, default 3000
            Mean amount of an order, in fen.

        Returns
        -------
        DataFrame
            ``openid`` (string), ``order_time`` (datetime64[us, Asia/Shanghai]), ``amount_fen`` (Int64, fen), one row an
            order, in order of time. The same seed, times and users give the same orders.

        Raises
        ------
        ValueError
            ``since`` is naive or not before now, or the probabilities are none.
        """
        import pandas as pd

        if since.tzinfo is None:
            raise ValueError(f"since must be timezone-aware, not {since!r}")
        given = {"openids": list(openids), "stock_id": stock_id, "since": since.timestamp(), "seed": self._seed}
        rows = self._control("POST", "orders", {**given, "rate": rate, "lift": lift, "amount_fen": amount_fen})
        found = pd.DataFrame(rows, columns=["openid", "order_time", "amount_fen"])
        return found.astype({"openid": pd.StringDtype("pyarrow"), "amount_fen": "Int64"}).assign(
            order_time=pd.to_datetime(found["order_time"], unit="s", utc=True)
            .dt.tz_convert(SHANGHAI)
            .astype(pd.DatetimeTZDtype("us", "Asia/Shanghai"))
        )

    def faults(
        self,
        kind: str | None = None,
        *,
        times: int | None = 1,
        path: str | None = None,
        method: str | None = None,
        probability: float | None = None,
        **options: Any,
    ) -> None:
        """Make coming answers go wrong.

        Parameters
        ----------
        kind : str, optional
            ``tamper_body``, ``wrong_serial``, ``stale_timestamp`` (``seconds=360``), ``missing_signature`` (``header=`` drops
            another), ``signtest``, ``status`` (``code=500``, ``retry_after=``, ``signed=True`` for a signed JSON error in place
            of a gateway's HTML, ``when=``; ``code=204`` is an answer without a body, signed unless ``signed=False``),
            ``non_json`` and ``empty`` (``when=``), ``truncate``, ``half_open`` (``seconds=5``: half of the body, then silence),
            ``reset`` (``when=``), ``stall`` (``seconds=5``, ``when=``), ``gzip`` or ``charset`` (GBK declared as UTF-8).
            ``when`` is ``"before"`` (default) or ``"after"`` the request took effect. None clears every armed fault.
        times : int or None, default 1
            How many matching requests it strikes; None: until cleared.
        path : str, optional
            Only requests whose raw path and query match this regular expression.
        method : str, optional
            Only this HTTP method.
        probability : float, optional
            Strike a matching request with this probability only (seeded).
        **options
            As above.

        Raises
        ------
        ValueError
            The kind or an option is not known, or a value makes no sense.
        """
        given = {"times": times, "path": path, "method": method, "probability": probability, "options": options}
        self._control("POST", "faults", {"kind": kind, **given})

    def requests(self) -> list[dict[str, Any]]:
        """Return the last 2,000 requests as they arrived.

        Returns
        -------
        list of dict
            ``method``, ``path`` (with query, byte for byte), ``body_sha256``, ``status`` (None when no answer was sent) and
            ``request_no``.
        """
        return cast("list[dict[str, Any]]", self._control("GET", "requests"))

    @property
    def _known(self) -> dict[str, Any]:
        if self._greeting is None:
            raise WxCouponError("this Sandbox is not running: use `with wx.Sandbox() as box:`, or box.start()")
        return self._greeting

    def _keys(self, flavour: str) -> dict[str, Any]:
        caller = self._known[flavour]
        shared = {name: self._known[name] for name in ("public_key_id", "public_key", "apiv3_key")}
        return {"serial_no": caller["serial_no"], "private_key": caller["private_key"], **shared}

    def _control(self, method: str, path: str, body: object = None) -> Any:
        return ask(self._known, method, path, body)


def _flat(document: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Flatten nested objects into path-named fields; lists stay."""
    for name, value in document.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}_")
        else:
            yield prefix + name, value
