"""What happened to coupons, as the platform told it: notifications, one by one or from a log of captured ones."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, overload

import pandas as pd
import pyarrow as pa

from wxcoupon_analytics.credentials import Credentials
from wxcoupon_analytics.entities.flatten import Page, flatten_pages
from wxcoupon_analytics.entities.schemas import EVENTS, NUMBER, TEXT, frame_of, to_frame
from wxcoupon_analytics.errors import ValidationError, VerificationError
from wxcoupon_analytics.wire.notifications import Notification, read_notification

_FAILURES: Final = pa.schema([("file", TEXT), ("line", NUMBER), ("error", TEXT), ("reason", TEXT)])
# The echoes a resource may nest, and the ids that stay of them.
_ECHOED: Final = (
    ("stock", "stock_id"),
    ("stock", "product_coupon_id"),
    ("product_coupon", "product_coupon_id"),
)
_OURS: Final = frozenset({"event_id", "event_type", "event", "event_time", "summary"})


class _Record(NamedTuple):
    """One captured notification, still unread, and where it stands."""

    file: Path
    line: int | None
    content: bytes


class Notifications:
    """Notifications (商品券回调通知), verified and decrypted.

    Parameters
    ----------
    credentials : Credentials
        With the ``apiv3_key``. Nothing is sent; no connection is needed.
    """

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def __repr__(self) -> str:
        return f"<Notifications {self._credentials!r}>"

    def read(self, headers: Mapping[str, str], body: bytes) -> Notification:
        """Read one notification, in the server that receives it.

        Answer it within 5 seconds, with status 200 or 204 when it was read; after an error with 4xx or 5xx, and the
        platform sends it again. The same notification may come many times: its ``id`` tells.

        Parameters
        ----------
        headers : mapping
            The request's headers, in any case.
        body : bytes
            The request's body exactly as it came: parsed and written again, it is another.

        Returns
        -------
        Notification
            ``id``, ``event_type``, ``event``, ``create_time``, ``summary``, ``resource``, ``envelope``, ``signed_at``.

        Raises
        ------
        VerificationError
            WeChat Pay did not sign these bytes, or not within 5 minutes of now, or they do not decrypt.
        ValidationError
            Signed, but no notification as documented.
        CredentialsError
            The credentials have no ``apiv3_key``.

        Notes
        -----
        Source: 商品券回调通知, https://pay.weixin.qq.com/doc/v3/partner/4016435717.
        """
        return read_notification(self._credentials, headers, body)

    @overload
    def read_log(
        self, path: str | PathLike[str], *, verify_age: bool = ..., on_error: Literal["raise"] = ...
    ) -> pd.DataFrame: ...

    @overload
    def read_log(
        self, path: str | PathLike[str], *, verify_age: bool = ..., on_error: Literal["collect"]
    ) -> tuple[pd.DataFrame, pd.DataFrame]: ...

    def read_log(
        self,
        path: str | PathLike[str],
        *,
        verify_age: bool = False,
        on_error: Literal["raise", "collect"] = "raise",
    ) -> pd.DataFrame | tuple[pd.DataFrame, pd.DataFrame]:
        """Read captured notifications into one frame.

        Parameters
        ----------
        path : path
            A file, or a folder whose files are read in the order of their names (those whose name begins with a dot are
            not). A file holds one record, or one a line: ``{"headers": {…}, "body": "…"}``. The body is the text exactly
            as it came, or Base64 of its bytes under ``body_base64``.
        verify_age : bool, default False
            Whether a delivery signed more than 5 minutes ago is refused. A log is old, so by default it is not; the
            signature is verified either way.
        on_error : {"raise", "collect"}
            ``"raise"``: the first bad record ends the reading. ``"collect"``: the bad records come as a second frame.

        Returns
        -------
        DataFrame
            ``user_coupon_events``, columns as ``wx.describe("user_coupon_events")``: one row per notification ``id`` (its
            first delivery), in the order of ``event_time``. ``event_type`` is as sent, ``event`` without what tells the
            flavours apart (``SEND``, ``USE``, ``RETURN``); ``fetched_at`` is the platform's clock at the delivery; what
            has no column is in ``extra``.
        DataFrame, only with ``on_error="collect"``
            The bad records: ``file`` (string), ``line`` (Int64; null when the record is the whole file), ``error``
            (string, the class) and ``reason`` (string).

        Raises
        ------
        VerificationError, ValidationError
            See :meth:`read`; the message begins with the file and line. ValidationError too when there is no such path.
        CredentialsError
            The credentials have no ``apiv3_key``.
        """
        if on_error not in ("raise", "collect"):
            raise ValidationError(f'on_error is "raise" or "collect", not {on_error!r}')
        _ = self._credentials.cipher  # before a folder of thousands is read
        notifications: list[Notification] = []
        failures: list[dict[str, Any]] = []
        for record in _records(Path(path)):
            try:
                notifications.append(self._captured(record, verify_age=verify_age))
            except (VerificationError, ValidationError) as error:
                if on_error == "raise":
                    where = str(record.file) + (f", line {record.line}" if record.line else "")
                    raise type(error)(f"{where}: {error}") from None
                failures.append(
                    {
                        "file": str(record.file),
                        "line": record.line,
                        "error": type(error).__name__,
                        "reason": str(error),
                    }
                )
        events = self._frame(notifications)
        if on_error == "raise":
            return events
        return events, frame_of(pa.Table.from_pylist(failures, schema=_FAILURES))

    def _captured(self, record: _Record, *, verify_age: bool) -> Notification:
        headers, body = _request(record.content)
        return read_notification(self._credentials, headers, body, verify_age=verify_age)

    def _frame(self, notifications: Iterable[Notification]) -> pd.DataFrame:
        """Put each notification once, at its first delivery, into the frame."""
        once: dict[str, Notification] = {}
        for notification in sorted(notifications, key=lambda n: n.signed_at):
            once.setdefault(notification.id, notification)
        # A partner acts for many brands, so there only the resource knows which.
        brand_id = self._credentials.brand_id if self._credentials.flavour == "brand" else None
        pages = (
            Page(json.dumps(_row(n)).encode(), n.signed_at, brand_id)
            for n in sorted(once.values(), key=lambda n: (n.create_time, n.id))
        )
        return to_frame(EVENTS.name, flatten_pages(EVENTS.name, pages))


def _records(path: Path) -> Iterator[_Record]:
    if not path.exists():
        raise ValidationError(f"{path}: there is no such file or folder")
    files = [path]
    if path.is_dir():
        inside = (file for file in path.rglob("*") if file.is_file())
        files = sorted(f for f in inside if not any(part.startswith(".") for part in f.relative_to(path).parts))
    for file in files:
        content = file.read_bytes()
        if _is_object(content):
            yield _Record(file, None, content)
            continue
        for number, line in enumerate(content.split(b"\n"), start=1):
            if line.strip():
                yield _Record(file, number, line)


def _is_object(content: bytes) -> bool:
    try:
        return isinstance(json.loads(content), dict)
    except (ValueError, RecursionError):
        return False


def _request(content: bytes) -> tuple[Mapping[str, str], bytes]:
    """Take a captured record apart into the headers and the bytes of the request it was."""
    try:
        record = json.loads(content)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise ValidationError('not a record: a JSON object {"headers": {…}, "body": "…"} is expected')
    headers, body, encoded = (record.get(name) for name in ("headers", "body", "body_base64"))
    if not isinstance(headers, dict):
        raise ValidationError("the record has no headers, and without them nothing can be verified")
    if (body is None) == (encoded is None):
        raise ValidationError("the record needs either body or body_base64")
    if isinstance(body, dict | list):
        raise ValidationError("the body was parsed before it was written down: keep its text, the signature covers it")
    try:
        if isinstance(encoded, str):
            return headers, base64.b64decode(encoded, validate=True)
        if isinstance(body, str):
            return headers, body.encode()
    except (binascii.Error, ValueError):
        raise ValidationError("body_base64 is not Base64, or body is not Unicode text") from None
    raise ValidationError("body and body_base64 are texts")


def _row(notification: Notification) -> dict[str, Any]:
    """Lay a notification out as one object of the events' schema; what is nested as an echo leaves its ids."""
    resource = dict(notification.resource)
    for echo, name in _ECHOED:
        if isinstance(nested := notification.resource.get(echo), Mapping) and name in nested:
            resource.setdefault(name, nested[name])
            resource.pop(echo, None)
    return {
        # A field of the resource that is called like one of ours keeps its value, in extra.
        **{f"resource.{name}" if name in _OURS else name: value for name, value in resource.items()},
        "event_id": notification.id,
        "event_type": notification.event_type,
        "event": notification.event,
        "event_time": notification.create_time.isoformat(),
        "summary": notification.summary,
    }
