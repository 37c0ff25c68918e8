from __future__ import annotations

import pickle
import traceback
from pathlib import Path

import pytest

import wxcoupon_analytics as wx
from tests import keys
from tests.conftest import brand_credentials


@pytest.mark.parametrize("make", [keys.private_key, keys.pkcs1_key], ids=["pkcs8", "pkcs1"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"], ids=["lf", "crlf", "cr"])
@pytest.mark.parametrize("form", ["text", "bytes", "path", "str path"])
def test_every_key_form_reads_as_the_same_key(make, line_end, form, tmp_path: Path):
    pem = make("caller").replace("\n", line_end)
    path = tmp_path / "apiclient_key.pem"
    path.write_bytes(pem.encode())
    given = {"text": pem, "bytes": pem.encode(), "path": path, "str path": str(path)}[form]
    expected = brand_credentials().private_key.public_key().public_numbers()
    assert brand_credentials(private_key=given).private_key.public_key().public_numbers() == expected


def test_a_key_on_one_line_as_secrets_managers_keep_it_reads():
    assert brand_credentials(private_key=keys.private_key("caller").replace("\n", "\\n")).private_key.key_size == 2048


def test_a_public_key_may_be_a_certificate_or_several_by_id(tmp_path: Path):
    from_certificate = brand_credentials(public_key=keys.certificate(tmp_path))
    assert from_certificate.public_keys["PUB_KEY_ID_0112233"].public_numbers() == (
        brand_credentials().public_keys["PUB_KEY_ID_0112233"].public_numbers()
    )
    both = brand_credentials(
        public_key={"PUB_KEY_ID_0112233": keys.public_key("platform"), "OLD": keys.certificate(tmp_path)}
    )
    assert set(both.public_keys) == {"PUB_KEY_ID_0112233", "OLD"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"brand_id": ""}, "brand_id must be a non-empty text"),
        ({"brand_id": 120344}, "brand_id must be a non-empty text, not int"),
        ({"serial_no": 'A"B'}, "cannot stand in an Authorization header"),
        (
            {"private_key": "no/such/apiclient_key.pem"},
            "private_key: the file 'no/such/apiclient_key.pem' cannot be read",
        ),
        ({"private_key": ""}, "private_key must be PEM text, bytes or a path"),
        ({"private_key": b"\x30\x82"}, "holds no PEM"),
        ({"private_key": lambda: keys.public_key("caller")}, "private_key holds a public key"),
        (
            {"private_key": lambda: keys.private_key("caller")[:900] + "\n-----END PRIVATE KEY-----\n"},
            "is the file whole",
        ),
        ({"public_key": lambda: keys.private_key("platform")}, "public_key holds a private key"),
        ({"public_key": lambda: keys.public_key("caller")}, "public half of your own private_key"),
        ({"public_key": lambda: {"OTHER": keys.public_key("platform")}}, "none for public_key_id 'PUB_KEY_ID_0112233'"),
        ({"apiv3_key": "short"}, "32 characters"),
    ],
)
def test_a_wrong_value_is_named_with_what_to_do(changes, says):
    given = {name: value() if callable(value) else value for name, value in changes.items()}
    with pytest.raises(wx.CredentialsError, match=says):
        brand_credentials(**given)


def test_an_encrypted_key_and_an_elliptic_one_are_refused_with_the_way_out():
    encrypted = keys.openssl("pkcs8", "-topk8", "-passout", "pass:x", stdin=keys.private_key().encode()).decode()
    with pytest.raises(wx.CredentialsError, match="openssl pkcs8"):
        brand_credentials(private_key=encrypted)
    elliptic = keys.openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256").decode()
    with pytest.raises(wx.CredentialsError, match="must be an RSA key"):
        brand_credentials(private_key=elliptic)


def test_nothing_secret_shows_in_repr_pickle_or_the_text_of_an_error():
    pem = keys.private_key("caller")
    body = pem.splitlines()[1]
    whole = brand_credentials(apiv3_key="k" * 32)
    assert body not in repr(whole)
    assert "k" * 32 not in repr(whole)
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(whole)
    without_header = "".join(pem.splitlines()[1:-1])
    with pytest.raises(wx.CredentialsError) as caught:
        brand_credentials(private_key=without_header)
    assert body not in "".join(traceback.format_exception(caught.value))


def settings(folder: Path) -> dict[str, str]:
    (folder / "key.pem").write_text(keys.private_key("caller"))
    (folder / "pub.pem").write_text(keys.public_key("platform"))
    return {
        "brand_id": "120344",
        "serial_no": "5157F0",
        "private_key": str(folder / "key.pem"),
        "public_key_id": "PUB_KEY_ID_1",
        "public_key": str(folder / "pub.pem"),
    }


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    import os

    for name in [n for n in os.environ if n.startswith("WXCOUPON_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_load_reads_the_environment(clean: Path, monkeypatch: pytest.MonkeyPatch):
    for name, value in settings(clean).items():
        monkeypatch.setenv(f"WXCOUPON_{name.upper()}", value)
    assert wx.Credentials.load().flavour == "brand"
    monkeypatch.setenv("WXCOUPON_MCHID", "1900000001")
    assert repr(wx.Credentials.load()).startswith("<Credentials partner: mchid='1900000001'")


def test_load_reads_dotenv(clean: Path):
    (clean / ".env").write_text(
        "".join(f"WXCOUPON_{k.upper()}={v}\n" for k, v in settings(clean).items()) + "OTHER=1\n"
    )
    assert wx.Credentials.load().brand_id == "120344"


@pytest.mark.parametrize(
    "broken", ['WXCOUPON_SERIAL_NO "x"', "export WXCOUPON_SERIAL_NO: x", "  'WXCOUPON_PRIVATE_KEY'=\"not-shown"]
)
def test_a_line_of_dotenv_that_is_none_is_named_and_not_shown(clean: Path, broken: str, caplog):
    (clean / ".env").write_text(f"WXCOUPON_BRAND_ID=120344\n\n{broken}\nWXCOUPON_PUBLIC_KEY=pub.pem\n")
    with pytest.raises(wx.CredentialsError, match=r"^\.env, line 3, is not NAME=value") as raised:
        wx.Credentials.load()
    assert "not-shown" not in str(raised.value)
    assert not caplog.records


def test_a_broken_line_of_another_program_is_not_ours_to_judge(clean: Path):
    lines = [f"WXCOUPON_{k.upper()}={v}" for k, v in settings(clean).items()]
    (clean / ".env").write_text("\n".join(["OTHER_KEY='unclosed # see WXCOUPON_BRAND_ID below", *lines]) + "\n")
    assert wx.Credentials.load().brand_id == "120344"


def test_load_reads_toml_with_paths_beside_it(clean: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory):
    values = {**settings(clean), "private_key": "key.pem", "public_key": "pub.pem"}
    (clean / "brand.toml").write_text("".join(f'{k} = "{v}"\n' for k, v in values.items()))
    monkeypatch.setenv("WXCOUPON_CONFIG", str(clean / "brand.toml"))
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert wx.Credentials.load().serial_no == "5157F0"


def test_load_says_what_is_missing_doubled_or_misspelt(clean: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(wx.CredentialsError, match="no credentials found.*WXCOUPON_BRAND_ID"):
        wx.Credentials.load()
    monkeypatch.setenv("WXCOUPON_BRAND_ID", "120344")
    with pytest.raises(wx.CredentialsError, match="the environment lacks serial_no, private_key"):
        wx.Credentials.load()
    (clean / ".env").write_text("WXCOUPON_SERIAL_NO=5157F0\n")
    with pytest.raises(wx.CredentialsError, match="the environment and in .env: keep them in one place"):
        wx.Credentials.load()
    monkeypatch.delenv("WXCOUPON_BRAND_ID")
    (clean / ".env").write_text("WXCOUPON_SERIAL_NUMBER=5157F0\n")
    with pytest.raises(wx.CredentialsError, match=r"did you mean 'serial_no'\?"):
        wx.Credentials.load()
    monkeypatch.setenv("WXCOUPON_CONFIG", str(clean / "none.toml"))
    with pytest.raises(wx.CredentialsError, match="none.toml cannot be read"):
        wx.Credentials.load()


@pytest.mark.parametrize("encoding", ["utf-16", "gbk"])
@pytest.mark.parametrize("name", [".env", "brand.toml"])
def test_a_file_in_another_encoding_is_refused_without_its_contents(name, encoding, clean: Path, monkeypatch):
    text = 'WXCOUPON_APIV3_KEY="secret-of-thirty-two-characters-"\n# 品牌密钥\n'
    (clean / name).write_bytes(text.encode(encoding))
    if name != ".env":
        monkeypatch.setenv("WXCOUPON_CONFIG", str(clean / name))
    with pytest.raises(wx.CredentialsError, match="is not UTF-8 text") as caught:
        wx.Credentials.load()
    seen: BaseException | None = caught.value
    while seen is not None:
        assert b"secret" not in repr(vars(seen)).encode() + getattr(seen, "object", b"")
        seen = seen.__cause__ or seen.__context__


def test_a_byte_order_mark_does_no_harm(clean: Path):
    text = "".join(f"WXCOUPON_{k.upper()}={v}\n" for k, v in settings(clean).items())
    (clean / ".env").write_text("\ufeff" + text, encoding="utf-8")
    assert wx.Credentials.load().brand_id == "120344"


def test_a_path_of_a_user_who_does_not_exist_is_told_without_the_other_keys(
    clean: Path, monkeypatch: pytest.MonkeyPatch
):
    values = {**settings(clean), "private_key": "~nosuchuser/key.pem"}
    (clean / "brand.toml").write_text("".join(f'{k} = "{v}"\n' for k, v in values.items()))
    monkeypatch.setenv("WXCOUPON_CONFIG", str(clean / "brand.toml"))
    with pytest.raises(wx.CredentialsError, match="private_key: the file"):
        wx.Credentials.load()
