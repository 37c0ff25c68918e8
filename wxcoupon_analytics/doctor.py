"""Why does it not work? One check after the other, from the keys to a verified answer, each with what to do.

What a check says may be pasted into a bug report: ids and serial numbers are in it, key material never is.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from os import PathLike
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from cryptography import x509
from dotenv import dotenv_values

from wxcoupon_analytics.client import HOSTS, check_host
from wxcoupon_analytics.credentials import Credentials
from wxcoupon_analytics.errors import CredentialsError, ValidationError, VerificationError
from wxcoupon_analytics.wire.questions import ask
from wxcoupon_analytics.wire.signing import (
    SIGNATURE_PROBE,
    TOLERANCE_SECONDS,
    authorization,
    explain_refused_signature,
    verify,
)

SKEW_WARNING_SECONDS = 60
# Of the form that the pages' examples have. Should it exist after all, reading it does no harm.
NOBODYS_PRODUCT_COUPON = "1000000000"
_PROBES_IN_A_ROW = 3


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found.

    Attributes
    ----------
    name : str
        What was checked.
    ok : bool or None
        None: not checked, because what it needs failed. True with a ``fix`` is a warning.
    detail : str
        What was found.
    fix : str
        What to do about it; empty when there is nothing to do.
    """

    name: str
    ok: bool | None
    detail: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class _Host:
    """What became of trying to reach a host: a complaint, or its Date and how far that is from this clock."""

    url: str
    detail: str
    fix: str = ""
    reached: bool = False
    skew_seconds: float | None = None


def run_checks(
    credentials_loader: Callable[[], Credentials],
    hosts: Sequence[str] | None,
    *,
    timeout: float,
    certificate: str | PathLike[str] | None = None,
    product_coupon_id: str | None = None,
) -> list[Check]:
    """Check credentials, clock, network and signatures, in this order.

    Parameters
    ----------
    credentials_loader : callable
        ``Credentials.load``, or anything that gives credentials or raises CredentialsError.
    hosts : sequence of str, optional
        As for :func:`wxcoupon_analytics.connect`.
    timeout : float
        Seconds for each connection and each answer.
    certificate : path, optional
        The API certificate (``apiclient_cert.pem``): with it, that ``private_key`` and ``serial_no`` are its own is
        checked without asking anyone.
    product_coupon_id : str, optional
        What to read. Default: an id that nobody has, since a signed refusal proves as much as an answer.

    Returns
    -------
    list of Check
        ``credentials``, ``private key``, ``clock``, one ``host …`` for each host, ``signed read``, ``verified answer``.

    Examples
    --------
    >>> import wxcoupon_analytics as wx
    >>> with wx.Sandbox(population=False) as box:
    ...     checks = run_checks(lambda: box.brand_credentials, box.hosts, timeout=5)
    >>> all(check.ok for check in checks)
    True
    >>> [check.name for check in checks][:3], [check.name for check in checks][-2:]
    (['credentials', 'private key', 'clock'], ['signed read', 'verified answer'])
    """
    checks, credentials = _load(credentials_loader)
    checks.append(_private_key(credentials, certificate))
    hosts = hosts or (credentials.hosts if credentials else ()) or HOSTS
    probed = [_probe(url.rstrip("/"), timeout) for url in hosts]
    checks.append(_clock(probed))
    checks += [Check(f"host {host.url}", host.reached, host.detail, host.fix) for host in probed]
    reached = next((host.url for host in probed if host.reached), None)
    if credentials is None or reached is None:
        why = "there are no credentials" if credentials is None else "no host can be reached"
        return [*checks, *(Check(name, None, f"not tried: {why}") for name in ("signed read", "verified answer"))]
    return [*checks, *_signed_read(credentials, reached, timeout, product_coupon_id or NOBODYS_PRODUCT_COUPON)]


def render(checks: Iterable[Check]) -> str:
    """Write checks down as text, a fix below each that needs one.

    Examples
    --------
    >>> print(render([Check("clock", True, "12 s behind"), Check("signed read", False, "401", "mind the key")]))
    ok    clock        12 s behind
    FAIL  signed read  401
          → mind the key
    1 of 2 checks failed
    """
    listed = list(checks)
    width = max((len(check.name) for check in listed), default=0)
    lines = []
    for check in listed:
        mark = {True: "warn" if check.fix else "ok", False: "FAIL", None: "skip"}[check.ok]
        lines.append(f"{mark:<6}{check.name:<{width}}  {check.detail}")
        if check.fix:
            lines.append(f"      → {check.fix}")
    failed, skipped = sum(c.ok is False for c in listed), sum(c.ok is None for c in listed)
    if failed:
        lines.append(f"{failed} of {len(listed)} checks failed")
    elif skipped:
        lines.append(f"{skipped} of {len(listed)} checks could not be made")
    else:
        lines.append(f"all {len(listed)} checks passed")
    return "\n".join(lines)


# --- credentials and keys --------------------------------------------------------------------------------------------


def _load(loader: Callable[[], Credentials]) -> tuple[list[Check], Credentials | None]:
    try:
        credentials = loader()
    except CredentialsError as error:
        fix = "correct what the message names; every value is on the merchant or brand platform under API security (API安全)"
        return [Check("credentials", False, str(error), fix)], None
    source = f", from {_source()}" if loader == Credentials.load else ""
    return [Check("credentials", True, f"{credentials!r}{source}")], credentials


def _source() -> str:
    """Name the one source that Credentials.load has just read."""
    names = {name for name, value in os.environ.items() if name.startswith("WXCOUPON_") and value}
    if names - {"WXCOUPON_CONFIG"}:
        return "the environment"
    config = os.environ.get("WXCOUPON_CONFIG") or dotenv_values(".env").get("WXCOUPON_CONFIG")
    return config or str(Path(".env").resolve())


def _private_key(credentials: Credentials | None, certificate: str | PathLike[str] | None) -> Check:
    name = "private key"
    if credentials is None:
        return Check(name, None, "not checked: there are no credentials")
    kind = f"RSA, {credentials.private_key.key_size} bits"
    if certificate is None:
        return Check(name, True, f"{kind}; not held against its certificate, which was not given")
    path = Path(certificate).expanduser()
    give = "give apiclient_cert.pem, the API certificate (API证书) whose serial number is serial_no"
    try:
        found = x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        return Check(name, False, f"{path} cannot be read: {error.strerror}", give)
    except ValueError:
        return Check(name, False, f"{path} holds no certificate in PEM", give)
    serial = format(found.serial_number, "X")
    if found.public_key() != credentials.private_key.public_key():
        return Check(
            name,
            False,
            f"private_key is not the key of the certificate {serial} in {path}",
            "take apiclient_key.pem and apiclient_cert.pem from the same download",
        )
    if serial != credentials.serial_no.upper().lstrip("0"):
        return Check(
            name,
            False,
            f"serial_no is {credentials.serial_no}, but the certificate that private_key belongs to is {serial}",
            f"set serial_no to {serial}",
        )
    if found.not_valid_after_utc.timestamp() < time.time():
        return Check(
            name,
            False,
            f"the certificate {serial} was valid until {found.not_valid_after_utc:%Y-%m-%d}",
            "apply for a new API certificate on the platform, and use its key and serial number",
        )
    return Check(
        name, True, f"{kind}; the key of certificate {serial}, valid until {found.not_valid_after_utc:%Y-%m-%d}"
    )


# --- network and clock -----------------------------------------------------------------------------------------------


def _probe(url: str, timeout: float) -> _Host:
    """Reach a host step by step, so that the step that fails can be named. Nothing of the credentials is sent."""
    try:
        check_host(url)
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        return _Host(url, f"not a host to call: {error}", "write it like https://api.mch.weixin.qq.com")
    name, step, fix = parts.hostname or "", "DNS", "check the name, this machine's network and its DNS server"
    try:
        with ExitStack() as stack:
            socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
            step, fix = "TCP", f"let this machine connect to {name}:{port} directly: HTTP proxies are not used"
            sock = stack.enter_context(socket.create_connection((name, port), timeout))
            if parts.scheme == "https":
                step, fix = (
                    "TLS",
                    "ask whether a proxy opens TLS in between, or update this machine's root certificates",
                )
                sock = stack.enter_context(ssl.create_default_context().wrap_socket(sock, server_hostname=name))
            step, fix = "HTTP", "try again; if it stays so, ask whether a firewall stands between"
            connection = http.client.HTTPConnection(name, port)
            connection.sock = sock
            begun = time.time()
            connection.request("HEAD", "/")
            date = connection.getresponse().headers.get("Date", "")
    except (OSError, UnicodeError, http.client.HTTPException) as error:
        return _Host(url, f"{step} failed: {str(error) or type(error).__name__}", fix)
    return _Host(url, "reached", reached=True, skew_seconds=_skew(date, begun, time.time()))


def _skew(date: str, begun: float, ended: float) -> float | None:
    """Give this clock minus the server's; a Date has whole seconds, cut off, so that its middle is half a second on."""
    try:
        return (begun + ended) / 2 - (parsedate_to_datetime(date).timestamp() + 0.5)
    except ValueError:
        return None


def _clock(hosts: Iterable[_Host]) -> Check:
    skews = [host.skew_seconds for host in hosts if host.skew_seconds is not None]
    if not skews:
        return Check("clock", None, "not checked: no host told its time")
    skew = min(skews, key=abs)
    found = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the server's"
    fix = "set this machine's clock by NTP (timedatectl set-ntp true); in a container, its host's"
    if abs(skew) >= TOLERANCE_SECONDS:
        return Check("clock", False, f"{found}: at {TOLERANCE_SECONDS} s and more every request is refused", fix)
    return Check("clock", True, found, fix if abs(skew) > SKEW_WARNING_SECONDS else "")


# --- one signed read -------------------------------------------------------------------------------------------------


def _signed_read(credentials: Credentials, host: str, timeout: float, product_coupon_id: str) -> Iterator[Check]:
    read, verified = "signed read", "verified answer"
    try:
        response = _ask(credentials, host, timeout, product_coupon_id)
    except (httpx.HTTPError, ValidationError) as error:
        yield Check(read, False, f"{type(error).__name__}: {error}", "try again; the host was reached a moment ago")
        yield Check(verified, None, "not checked: no answer came")
        return
    signed = "Wechatpay-Signature" in response.headers
    yield _accepted(read, response, signed=signed)
    if not signed and response.status_code == 401:
        yield Check(verified, None, "not checked: the gateway's refusal is not signed")
        return
    try:
        verify(credentials, response.headers, response.content)
    except VerificationError as error:
        fix = (
            "if the clock is right, download the WeChat Pay public key (微信支付公钥) again: public_key, and its id as public_key_id"
            if signed
            else "WeChat Pay signs what it answers: check the host, and ask whether a proxy stands between"
        )
        yield Check(verified, False, str(error), fix)
        return
    yield Check(verified, True, f"signed with {response.headers['Wechatpay-Serial']}")


def _ask(credentials: Credentials, host: str, timeout: float, product_coupon_id: str) -> httpx.Response:
    """Ask by hand, once: a client would repeat the question, and raise before the refusal can be looked at."""
    question = ask(credentials, "get_product_coupon", {"product_coupon_id": product_coupon_id})
    with httpx.Client(timeout=timeout, trust_env=False, follow_redirects=False) as client:
        for _ in range(_PROBES_IN_A_ROW):
            headers = {
                "Accept": "application/json",
                "Authorization": authorization(credentials, "GET", question.target, b""),
                "Wechatpay-Serial": credentials.public_key_id,
                "User-Agent": "wxcoupon-analytics doctor",
            }
            response = client.get(host + question.target, headers=headers)
            # A wrong signature on purpose says nothing about the keys.
            if not response.headers.get("Wechatpay-Signature", "").startswith(SIGNATURE_PROBE):
                break
    return response


def _accepted(name: str, response: httpx.Response, *, signed: bool) -> Check:
    """Say whether the platform took the signature: then it answers, or it refuses, signed, for another reason."""
    status, said = response.status_code, _said(response)
    if status == 200 or (signed and status in (400, 404) and "Wechatpay-Serial" not in said):
        return Check(name, True, f"accepted ({said})")
    if status == 401:
        return Check(name, False, said, explain_refused_signature(response))
    if status == 400 and signed:
        return Check(
            name, False, said, "set public_key_id to the id (PUB_KEY_ID_…) of this brand's or merchant's own key"
        )
    if status == 403:
        fix = (
            "apply for the product coupons' permission (商品券产品权限); a partner also needs the brand's authorization"
        )
        return Check(name, False, said, fix)
    if status == 429 or status >= 500:
        return Check(name, False, said, "the signature was not looked at: try again in a minute")
    return Check(name, False, f"{said}, not signed", "not the API's own answer: check the host, and ask about proxies")


def _said(response: httpx.Response) -> str:
    """Give a refusal in one line."""
    try:
        body = response.json()
    except ValueError:
        body = None
    words = [str(response.status_code)]
    if isinstance(body, dict) and response.status_code != 200:
        words += [str(body[key]) for key in ("code", "message") if body.get(key)]
    request_id = response.headers.get("Request-ID")
    return " ".join(words) + (f", Request-ID {request_id}" if request_id else "")
