"""The doctor finds what is wrong and says what to do, against the embedded brand and broken servers on loopback."""

from __future__ import annotations

import http.server
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import wxcoupon_analytics as wx
from tests import keys
from wxcoupon_analytics.doctor import Check, render, run_checks

NAMES = ["credentials", "private key", "clock", "signed read", "verified answer"]


def examine(load: Callable[[], wx.Credentials], hosts, **options) -> dict[str, Check]:
    checks = run_checks(load, hosts, timeout=5, **options)
    assert [c.name for c in checks if not c.name.startswith("host ")] == NAMES
    assert [c.name for c in checks[3:-2]] == [f"host {host}" for host in hosts]
    assert all(c.fix for c in checks if c.ok is False), "a failure without a fix"
    return {c.name: c for c in checks}


def altered(box: wx.Sandbox, **changes: object) -> wx.Credentials:
    return wx.Credentials.brand(**{"brand_id": box.brand_id, **box._keys("brand"), **changes})


def verdicts(checks: dict[str, Check]) -> list[bool | None]:
    return [check.ok for check in checks.values()]


@contextmanager
def serving(answer: Callable[[http.server.BaseHTTPRequestHandler], None], *, tls: Path | None = None) -> Iterator[str]:
    """A server of our own on loopback, over TLS with a certificate that nobody trusts if one is given."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(404)
            self.end_headers()

        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *_: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def answering(status: int, body: bytes, **headers: str) -> Callable[[http.server.BaseHTTPRequestHandler], None]:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


@pytest.mark.parametrize("flavour", ["brand", "partner"])
def test_all_is_well(flavour: str, box: wx.Sandbox):
    checks = examine(lambda: getattr(box, f"{flavour}_credentials"), box.hosts)
    assert verdicts(checks) == [True] * 6
    assert not any(check.fix for check in checks.values())
    assert "404 NOT_FOUND" in checks["signed read"].detail
    assert "Request-ID" in checks["signed read"].detail
    assert box.brand_credentials.public_key_id in checks["verified answer"].detail


def test_a_product_coupon_that_exists_may_be_asked_for(box: wx.Sandbox):
    known = str(box.truth("product_coupons")["product_coupon_id"][0])
    checks = examine(lambda: box.brand_credentials, box.hosts, product_coupon_id=known)
    assert checks["signed read"].detail.startswith("accepted (200")


def test_a_wrong_private_key_is_told_from_a_wrong_message(box: wx.Sandbox):
    checks = examine(lambda: altered(box, private_key=keys.private_key("other")), box.hosts)
    assert verdicts(checks) == [True, True, True, True, False, None]
    assert "401 SIGN_ERROR" in checks["signed read"].detail
    assert "private_key" in checks["signed read"].fix


def test_a_wrong_serial_is_what_the_platform_says(box: wx.Sandbox):
    checks = examine(lambda: altered(box, serial_no="4F"), box.hosts)
    assert checks["signed read"].ok is False
    assert "商户证书序列号有误" in checks["signed read"].detail
    assert "serial_no" in checks["signed read"].fix


def test_a_wrong_public_key_is_found_after_the_read_was_accepted(box: wx.Sandbox):
    checks = examine(lambda: altered(box, public_key=keys.public_key("other")), box.hosts)
    assert checks["signed read"].ok is True
    assert checks["verified answer"].ok is False
    assert "does not fit its body" in checks["verified answer"].detail
    assert "微信支付公钥" in checks["verified answer"].fix


def test_a_wrong_public_key_id_is_refused_by_the_platform(box: wx.Sandbox):
    checks = examine(lambda: altered(box, public_key_id="PUB_KEY_ID_OTHER"), box.hosts)
    assert checks["signed read"].ok is False
    assert "public_key_id" in checks["signed read"].fix
    assert "PUB_KEY_ID_OTHER" in checks["verified answer"].detail


def test_the_platforms_wrong_signatures_on_purpose_are_asked_again():
    with wx.Sandbox(population=False) as box:
        box.faults("signtest", times=2)
        assert verdicts(examine(lambda: box.brand_credentials, box.hosts)) == [True] * 6


def test_one_host_that_cannot_be_reached_fails_and_the_other_is_used(box: wx.Sandbox):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets it meanwhile
        closed = f"http://127.0.0.1:{taken.getsockname()[1]}"
        checks = examine(lambda: box.brand_credentials, [closed, *box.hosts])
    assert verdicts(checks) == [True, True, True, False, True, True, True]
    assert "TCP failed" in checks[f"host {closed}"].detail
    assert "directly" in checks[f"host {closed}"].fix


def test_no_host_at_all_leaves_the_rest_untried(box: wx.Sandbox, monkeypatch: pytest.MonkeyPatch):
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    checks = examine(lambda: box.brand_credentials, ["https://api.mch.weixin.qq.example"])
    assert verdicts(checks) == [True, True, None, False, None, None]
    assert "DNS failed" in checks["host https://api.mch.weixin.qq.example"].detail
    assert "no host can be reached" in checks["signed read"].detail


def test_a_certificate_nobody_trusts_is_a_matter_of_tls(box: wx.Sandbox, tmp_path: Path):
    (tmp_path / "server.pem").write_text(keys.private_key("other") + keys.certificate(tmp_path, "other"))
    with serving(answering(200, b"{}"), tls=tmp_path / "server.pem") as url:
        checks = examine(lambda: box.brand_credentials, [url])
    assert "TLS failed" in checks[f"host {url}"].detail
    assert "proxy" in checks[f"host {url}"].fix


@pytest.mark.parametrize("url", ["api.mch.weixin.qq.com", "http://api.mch.weixin.qq.com", "https://127.0.0.1:port"])
def test_what_is_no_host_is_not_called(url: str, box: wx.Sandbox):
    checks = examine(lambda: box.brand_credentials, [url])
    assert "not a host to call" in checks[f"host {url}"].detail
    assert checks["signed read"].ok is None


@pytest.mark.parametrize(
    ("ahead", "ok", "fixed", "says"),
    [
        (0, True, False, "^[01] s "),
        (90, True, True, "^(89|90|91) s ahead of the server's$"),
        (-90, True, True, "^(89|90|91) s behind the server's$"),
        (400, False, True, "^(399|400|401) s ahead of the server's: at 300 s and more every request is refused$"),
    ],
)
def test_the_clock_is_held_against_the_servers(ahead, ok, fixed, says, box: wx.Sandbox, monkeypatch):
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + ahead)
    clock = examine(lambda: box.brand_credentials, box.hosts)["clock"]
    assert (clock.ok, bool(clock.fix)) == (ok, fixed)
    assert re.search(says, clock.detail)


def test_missing_variables_are_named_and_the_network_is_checked_all_the_same(box, monkeypatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WXCOUPON_BRAND_ID", "120344")
    checks = examine(wx.Credentials.load, box.hosts)
    assert verdicts(checks) == [False, None, True, True, None, None]
    assert "the environment lacks serial_no, private_key" in checks["credentials"].detail


def test_the_source_of_the_credentials_is_named(box: wx.Sandbox, monkeypatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    values = {"brand_id": box.brand_id, **box._keys("brand")}
    with monkeypatch.context() as patch:
        for name, value in values.items():
            patch.setenv(f"WXCOUPON_{name.upper()}", value)
        assert "from the environment" in examine(wx.Credentials.load, box.hosts)["credentials"].detail
    config = tmp_path / "coupons.toml"
    config.write_text("\n".join(f'{name} = """{value}"""' for name, value in values.items()))
    Path(".env").write_text(f"WXCOUPON_CONFIG={config}\n")
    assert f"from {config}" in examine(wx.Credentials.load, box.hosts)["credentials"].detail
    one_line = {name: value.replace("\n", "\\n") for name, value in values.items()}
    Path(".env").write_text("\n".join(f'WXCOUPON_{name.upper()}="{value}"' for name, value in one_line.items()))
    assert f"from {tmp_path.resolve() / '.env'}" in examine(wx.Credentials.load, box.hosts)["credentials"].detail


class TestCertificate:
    def check(self, box: wx.Sandbox, certificate: Path, **changes: object) -> Check:
        return examine(lambda: altered(box, **changes), box.hosts, certificate=certificate)["private key"]

    def made(self, box: wx.Sandbox, tmp_path: Path, *more: str) -> tuple[Path, str]:
        """A certificate of the brand's key, made by openssl, and its serial number."""
        key, path = tmp_path / "caller.pem", tmp_path / "apiclient_cert.pem"
        key.write_text(box._keys("brand")["private_key"])
        keys.openssl(
            "req", "-x509", "-new", "-key", str(key), "-subj", "/CN=brand", "-set_serial", "0x0A1B2C",
            *(more or ("-days", "30")), "-out", str(path),
        )  # fmt: skip
        return path, "0A1B2C"

    def test_key_and_serial_belong_to_it(self, box: wx.Sandbox, tmp_path: Path):
        path, serial = self.made(box, tmp_path)
        check = self.check(box, path, serial_no=serial)
        assert check.ok is True
        assert "A1B2C" in check.detail

    def test_another_serial(self, box: wx.Sandbox, tmp_path: Path):
        path, _ = self.made(box, tmp_path)
        check = self.check(box, path)
        assert check.ok is False
        assert check.fix == "set serial_no to A1B2C"

    def test_another_key(self, box: wx.Sandbox, tmp_path: Path):
        path, serial = self.made(box, tmp_path)
        check = self.check(box, path, serial_no=serial, private_key=keys.private_key("other"))
        assert check.ok is False
        assert "private_key is not the key of the certificate A1B2C" in check.detail

    def test_one_that_has_expired(self, box: wx.Sandbox, tmp_path: Path, monkeypatch):
        path, serial = self.made(box, tmp_path)
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + 31 * 86_400)
        check = self.check(box, path, serial_no=serial)
        assert check.ok is False
        assert "was valid until" in check.detail

    def test_a_file_that_is_none(self, box: wx.Sandbox, tmp_path: Path):
        assert "cannot be read" in self.check(box, tmp_path / "nowhere.pem").detail
        (tmp_path / "key.pem").write_text(keys.public_key("other"))
        assert "holds no certificate" in self.check(box, tmp_path / "key.pem").detail


@pytest.mark.parametrize(
    ("answer", "says", "fix"),
    [
        (answering(404, b"<html>"), "404, not signed", "not the API's own answer"),
        (answering(403, b'{"code":"NO_AUTH","message":"no"}'), "403 NO_AUTH no", "permission"),
        (answering(502, b"<html>", Request_ID="08AB-1"), "502, Request-ID 08AB-1", "try again"),
        (answering(401, b"<html>"), "401", "serial_no"),
        (lambda handler: handler.connection.close(), "RemoteProtocolError|ReadError", "try again"),
    ],
    ids=["a gateway's 404", "no permission", "bad gateway", "401 without words", "no answer"],
)
def test_other_answers_prove_nothing(answer, says: str, fix: str, box: wx.Sandbox):
    with serving(answer) as url:
        checks = examine(lambda: box.brand_credentials, [url])
    assert checks["signed read"].ok is False
    assert any(word in checks["signed read"].detail for word in says.split("|"))
    assert fix in checks["signed read"].fix
    assert checks["verified answer"].ok is not True


def test_nothing_secret_is_said(box: wx.Sandbox):
    secrets = [line for line in box._keys("brand")["private_key"].splitlines() if len(line) > 40]
    secrets.append(box._keys("brand")["apiv3_key"])
    for load in (lambda: box.brand_credentials, lambda: altered(box, serial_no="4F")):
        checks = run_checks(load, box.hosts, timeout=5)
        said = render(checks) + repr(checks)
        assert not any(secret in said for secret in secrets)
        assert "signature=" not in said


def test_the_text_marks_warnings_and_says_how_many_failed():
    text = render(
        [Check("clock", True, "90 s behind", "set it"), Check("read", None, "not tried"), Check("a", True, "b")]
    )
    assert text.splitlines() == [
        "warn  clock  90 s behind",
        "      → set it",
        "skip  read   not tried",
        "ok    a      b",
        "1 of 3 checks could not be made",
    ]
    assert render([Check("a", True, "b")]).endswith("all 1 checks passed")
