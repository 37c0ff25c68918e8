"""Who is calling: ids and keys, read once, checked at once, never shown."""

from __future__ import annotations

import difflib
import io
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NoReturn, Self, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from dotenv import dotenv_values
from dotenv.parser import parse_stream

from wxcoupon_analytics.errors import CredentialsError

KeySource = str | bytes | os.PathLike[str]
T = TypeVar("T")

_NAMES = ("mchid", "brand_id", "serial_no", "private_key", "public_key_id", "public_key", "apiv3_key")
_PREFIX = "WXCOUPON_"
_OUR_LINE = re.compile(rf"^\s*(?:export\s+)?'?({_PREFIX})", re.MULTILINE)
_MIN_RSA_BITS = 2048


class Credentials:
    """The identity and keys with which requests are signed and answers verified.

    Build one with :meth:`brand`, :meth:`partner` or :meth:`load`. Keys are PEM text, bytes, or a path to a PEM file;
    private keys PKCS#8 or PKCS#1; a public key may also be an X.509 certificate. Nothing secret appears in its
    ``repr``, and it refuses to be pickled.

    Attributes
    ----------
    flavour : str
        ``"brand"`` (品牌) or ``"partner"`` (服务商).
    brand_id, mchid, serial_no, public_key_id : str
        ``mchid`` is None for a brand. ``public_key_id`` is what requests name in ``Wechatpay-Serial``.
    hosts : tuple of str
        Where :func:`~wxcoupon_analytics.connect` finds the platform, if the source :meth:`load` read says so; else empty.

    Notes
    -----
    Source: the signing and verifying rules of API v3, https://pay.weixin.qq.com/doc/brand/4015407570 (brand
    certificates) and https://pay.weixin.qq.com/doc/brand/4015453439 (the WeChat Pay public key).
    """

    flavour: str
    brand_id: str
    mchid: str | None
    serial_no: str
    public_key_id: str
    hosts: tuple[str, ...] = ()
    _private_key: RSAPrivateKey
    _public_keys: dict[str, RSAPublicKey]
    _cipher: AESGCM | None

    def __init__(self) -> None:
        raise TypeError("use Credentials.brand(…), Credentials.partner(…) or Credentials.load()")

    @classmethod
    def brand(
        cls,
        *,
        brand_id: str,
        serial_no: str,
        private_key: KeySource,
        public_key_id: str,
        public_key: KeySource | Mapping[str, KeySource],
        apiv3_key: str | bytes | None = None,
    ) -> Self:
        """Credentials of a brand calling for itself (scheme ``WECHATPAY-BRAND-SHA256-RSA2048``).

        Parameters
        ----------
        brand_id : str
            The brand's id (品牌ID).
        serial_no : str
            Serial number of the brand API certificate whose private key signs.
        private_key : str, bytes or path
            The private key of that certificate (``apiclient_key.pem``).
        public_key_id : str
            ``PUB_KEY_ID_…`` of the WeChat Pay public key (older accounts: the platform certificate's serial).
        public_key : str, bytes, path or dict
            The WeChat Pay public key, or ``{id: key}`` while keys rotate; the dict must hold ``public_key_id``.
        apiv3_key : str or bytes, optional
            The 32-byte APIv3 key, needed only to decrypt notifications.

        Raises
        ------
        CredentialsError
            A value is missing or a key cannot be read; the message says which and what to do.
        """
        keys = _Sealed(private_key=private_key, public_key=public_key, apiv3_key=apiv3_key)
        del private_key, public_key, apiv3_key  # a traceback that shows local variables must not show these
        return cls._make("brand", None, brand_id, serial_no, public_key_id, keys)

    @classmethod
    def partner(
        cls,
        *,
        mchid: str,
        brand_id: str,
        serial_no: str,
        private_key: KeySource,
        public_key_id: str,
        public_key: KeySource | Mapping[str, KeySource],
        apiv3_key: str | bytes | None = None,
    ) -> Self:
        """Credentials of a service provider (服务商) acting for a brand (scheme ``WECHATPAY2-SHA256-RSA2048``).

        Parameters are those of :meth:`brand`; ``mchid`` is the provider's merchant id, ``serial_no`` and
        ``private_key`` are of its merchant API certificate, and ``brand_id`` is the brand it acts for.
        """
        keys = _Sealed(private_key=private_key, public_key=public_key, apiv3_key=apiv3_key)
        del private_key, public_key, apiv3_key
        return cls._make("partner", mchid, brand_id, serial_no, public_key_id, keys)

    @classmethod
    def load(cls) -> Self:
        """Read credentials from one source: the environment, ``.env`` here, or the TOML file named by WXCOUPON_CONFIG.

        The variables are ``WXCOUPON_BRAND_ID``, ``_SERIAL_NO``, ``_PRIVATE_KEY``, ``_PUBLIC_KEY_ID``, ``_PUBLIC_KEY``,
        optionally ``_APIV3_KEY``, and ``_MCHID``, which makes it a partner's. The TOML file has the same names in small
        letters; paths in it are relative to it. ``WXCOUPON_HOSTS`` (separated by spaces; a list in TOML) names other hosts
        than the platform's two: the embedded brand's, a gateway's. Values in two sources are an error: half a key pair from one place and
        half from another is how signatures fail for a reason nobody finds.

        Raises
        ------
        CredentialsError
            No source has values, two have, a name is unknown, or a key cannot be read.
        """
        try:
            return cls._load()
        except (CredentialsError, OSError, ValueError, TypeError, RuntimeError) as error:
            message = (
                str(error)
                if isinstance(error, CredentialsError)
                else f"credentials cannot be read: {type(error).__name__}"
            )
        raise CredentialsError(message)  # anew: the frames behind the first one hold what was read

    @classmethod
    def _load(cls) -> Self:
        environment: dict[str, Any] = _own(os.environ)
        dotenv: dict[str, Any] = _own(_read_dotenv(Path(".env")))
        config = environment.pop("config", None) or dotenv.pop("config", None)
        sources: dict[str, tuple[dict[str, Any], Path | None]] = {
            "the environment": (environment, None),
            ".env": (dotenv, None),
        }
        if config:
            path = Path(config).expanduser()
            sources[str(path)] = (_read_toml(path), path.parent)
        filled = [name for name, (values, _) in sources.items() if values]
        if not filled:
            _fail(
                f"no credentials found: set {_PREFIX}BRAND_ID, {_PREFIX}SERIAL_NO, {_PREFIX}PRIVATE_KEY, "
                f"{_PREFIX}PUBLIC_KEY_ID and {_PREFIX}PUBLIC_KEY in the environment or in .env, or name a TOML file "
                f"with {_PREFIX}CONFIG (without credentials of your own, try `wxcoupon demo`)"
            )
        if len(filled) > 1:
            _fail(f"credentials stand in {' and in '.join(filled)}: keep them in one place")
        values, base = sources[filled[0]]
        hosts = _hosts(values.pop("hosts", ""))
        for name in values:
            if name not in _NAMES:
                near = difflib.get_close_matches(name, _NAMES, n=1)
                _fail(
                    f"{filled[0]} has {name!r}, which means nothing here"
                    + (f": did you mean {near[0]!r}?" if near else "")
                )
        if base is not None:
            values = {k: _beside(base, v) if k in ("private_key", "public_key") else v for k, v in values.items()}
        missing = [n for n in _NAMES if n not in ("mchid", "apiv3_key") and not values.get(n)]
        if missing:
            _fail(f"{filled[0]} lacks {', '.join(missing)}")
        self = (
            cls.partner(**values)
            if values.get("mchid")
            else cls.brand(**{k: v for k, v in values.items() if k != "mchid"})
        )
        self.hosts = hosts
        return self

    @classmethod
    def _make(
        cls,
        flavour: str,
        mchid: str | None,
        brand_id: str,
        serial_no: str,
        public_key_id: str,
        keys: _Sealed,
    ) -> Self:
        mchid = _identifier("mchid", mchid) if flavour == "partner" else None
        brand_id = _identifier("brand_id", brand_id)
        serial_no = _identifier("serial_no", serial_no)
        public_key_id = _identifier("public_key_id", public_key_id)
        public_keys = keys.read("public_key", partial(_read_public_keys, public_key_id))
        private_key = keys.read("private_key", _read_private_key)
        own = private_key.public_key().public_numbers()
        if any(key.public_numbers() == own for key in public_keys.values()):
            _fail(
                "public_key is the public half of your own private_key; answers are signed by WeChat Pay: "
                "download the WeChat Pay public key (微信支付公钥, PUB_KEY_ID_…) from the platform"
            )
        self = object.__new__(cls)
        self.flavour, self.mchid, self.brand_id, self.serial_no = flavour, mchid, brand_id, serial_no
        self.public_key_id, self._public_keys, self._private_key = public_key_id, public_keys, private_key
        self._cipher = keys.read("apiv3_key", _read_apiv3_key)
        return self

    @property
    def public_keys(self) -> Mapping[str, RSAPublicKey]:
        """The WeChat Pay public keys answers may be signed with, by id."""
        return dict(self._public_keys)

    @property
    def private_key(self) -> RSAPrivateKey:
        """The key requests are signed with: an opaque handle, which shows nothing of itself."""
        return self._private_key

    @property
    def cipher(self) -> AESGCM:
        """What decrypts notifications, under the APIv3 key: an opaque handle too.

        Raises
        ------
        CredentialsError
            There is none.
        """
        if self._cipher is None:
            _fail(
                "notifications are encrypted with the APIv3 key, and these credentials have none: pass apiv3_key=…, or set "
                "WXCOUPON_APIV3_KEY, to the 32 characters set on the platform (APIv3密钥)"
            )
        return self._cipher

    @cached_property
    def identity(self) -> tuple[str, str]:
        """The attribute of the Authorization header that says who calls: its name and value."""
        return ("mchid", self.mchid) if self.mchid is not None else ("brand_id", self.brand_id)

    def __repr__(self) -> str:
        who = f"mchid={self.mchid!r}, " if self.mchid else ""
        return (
            f"<Credentials {self.flavour}: {who}brand_id={self.brand_id!r}, serial_no={self.serial_no!r}, "
            f"public_key_id={self.public_key_id!r}>"
        )

    def __reduce__(self) -> NoReturn:
        raise TypeError("Credentials hold a private key and are not pickled: build them where they are needed")


class _Sealed:
    """Holds what was given as keys, and shows it to nobody but the function that reads it."""

    __slots__ = ("_given",)

    def __init__(self, **given: object) -> None:
        self._given = given

    def __repr__(self) -> str:
        return f"<{', '.join(self._given)}>"

    def read(self, name: str, reader: Callable[[object], T]) -> T:
        """Read one of them; an error is raised anew, without the frames in which it stood open."""
        try:
            return reader(self._given[name])
        except (CredentialsError, OSError, ValueError, TypeError) as error:
            message = (
                str(error) if isinstance(error, CredentialsError) else f"{name} cannot be read: {type(error).__name__}"
            )
        raise CredentialsError(message)


def _fail(message: str) -> NoReturn:
    # `from None`: the causes' texts come from parsers that may quote what they were given.
    raise CredentialsError(message) from None


def _own(variables: Mapping[str, str]) -> dict[str, str]:
    return {k.removeprefix(_PREFIX).lower(): v for k, v in variables.items() if k.startswith(_PREFIX) and v}


def _read_text(path: Path) -> str:
    """Read a file that may hold keys: an error of the decoder would carry the whole of it."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        _fail(f"{path} cannot be read: {error.strerror}")
    except UnicodeDecodeError:
        pass
    _fail(f"{path} is not UTF-8 text: save it as UTF-8")


def _read_dotenv(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    text = _read_text(path)
    for binding in parse_stream(io.StringIO(text)):
        # What is wrong with the lines of others is not ours to say.
        if binding.error and (ours := _OUR_LINE.search(binding.original.string)):
            number = binding.original.line + binding.original.string.count("\n", 0, ours.start(1))
            _fail(f"{path}, line {number}, is not NAME=value, or a quote in it is not closed")
    return {k: v for k, v in dotenv_values(stream=io.StringIO(text)).items() if v is not None}


def _read_toml(path: Path) -> dict[str, Any]:
    text = _read_text(path)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        pass
    _fail(f'{path} is not TOML: each line is name = "value"')


def _hosts(given: object) -> tuple[str, ...]:
    """Read the hosts; whether they may be called is for `connect` to say."""
    listed = given.split() if isinstance(given, str) else given
    if not isinstance(listed, list) or not all(isinstance(host, str) and host for host in listed):
        _fail(f'hosts must be a list of URLs, like ["https://api.mch.weixin.qq.com"], not {type(given).__name__}')
    return tuple(listed)


def _beside(base: Path, key: Any) -> Any:
    """Resolve a key given as a path against the folder of the file that names it."""
    if isinstance(key, Mapping):
        return {i: _beside(base, k) for i, k in key.items()}
    if not isinstance(key, str) or "-----BEGIN" in key or key.startswith("~"):
        return key
    return base / key


def _identifier(name: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        _fail(
            f"{name} must be a non-empty text, not {type(value).__name__ if not isinstance(value, str) else 'an empty one'}"
        )
    value = value.strip()
    if any(c in '",\r\n' or ord(c) > 126 or ord(c) < 33 for c in value):
        _fail(f"{name} has a character that cannot stand in an Authorization header (quote, comma, space or not ASCII)")
    return value


def _pem(name: str, source: object) -> bytes:
    """Give the PEM bytes of a key that came as text, bytes or a path; no message repeats what was given as a key."""
    if isinstance(source, str) and "-----BEGIN" in source:
        # .env files and CI secrets often carry a PEM on one line, its line ends written as \n.
        data = source.replace("\\n", "\n").encode()
    elif isinstance(source, bytes):
        data = source
    elif isinstance(source, str | os.PathLike) and source:
        text = os.fspath(source)
        if isinstance(source, str) and (len(text) > 300 or "\n" in text):
            _fail(
                f"{name} is neither PEM text nor a path: a PEM starts with a line -----BEGIN …----- and keeps its line breaks"
            )
        try:
            data = Path(text).expanduser().read_bytes()
        except (OSError, ValueError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or "not a path"
            shown = f" {text!r}" if Path(text).suffix else ""
            _fail(
                f"{name}: the file{shown} cannot be read ({reason}); give a path to a PEM file, or the PEM text itself"
            )
    else:
        _fail(f"{name} must be PEM text, bytes or a path, not {type(source).__name__ if source else 'empty'}")
    if b"-----BEGIN" not in data:
        _fail(
            f"{name} holds no PEM: a PEM starts with a line -----BEGIN …----- (a .p12 file must be converted with `openssl pkcs12`)"
        )
    # One line end for all: Windows editors leave CRLF, old ones CR, and an indented paste leaves spaces.
    lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    return b"\n".join(line.strip() for line in lines if line.strip()) + b"\n"


def _read_private_key(source: object) -> RSAPrivateKey:
    data = _pem("private_key", source)
    if b"ENCRYPTED" in data:
        _fail(
            "private_key is encrypted: decrypt it once with `openssl pkcs8 -in KEY -out PLAIN.pem`, and protect the file"
        )
    if b"PRIVATE KEY-----" not in data:
        _fail("private_key holds a public key or a certificate: give apiclient_key.pem, the private key")
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError):
        _fail("private_key cannot be read as a PKCS#8 or PKCS#1 private key: is the file whole?")
    if not isinstance(key, RSAPrivateKey) or key.key_size < _MIN_RSA_BITS:
        _fail(f"private_key must be an RSA key of at least {_MIN_RSA_BITS} bits")
    return key


def _read_public_key(source: object) -> RSAPublicKey:
    data = _pem("public_key", source)
    if b"PRIVATE KEY-----" in data:
        _fail("public_key holds a private key: give the WeChat Pay public key (pub_key.pem) or platform certificate")
    try:
        if b"BEGIN CERTIFICATE" in data:
            key = x509.load_pem_x509_certificate(data).public_key()
        else:
            key = serialization.load_pem_public_key(data)  # type: ignore[assignment]
    except ValueError:
        _fail("public_key cannot be read as a PEM public key or an X.509 certificate: is the file whole?")
    if not isinstance(key, RSAPublicKey) or key.key_size < _MIN_RSA_BITS:
        _fail(f"public_key must be an RSA key of at least {_MIN_RSA_BITS} bits")
    return key


def _read_public_keys(used: str, source: object) -> dict[str, RSAPublicKey]:
    keys = source if isinstance(source, Mapping) else {used: source}
    if used not in keys:
        _fail(f"public_key has keys for {', '.join(map(repr, keys))} but none for public_key_id {used!r}")
    return {_identifier("public_key id", i): _read_public_key(key) for i, key in keys.items()}


def _read_apiv3_key(value: object) -> AESGCM | None:
    if value is None or value in ("", b""):
        return None
    key = value.encode() if isinstance(value, str) else value
    if not isinstance(key, bytes) or len(key) != 32:
        _fail("apiv3_key must be the 32 characters set on the platform (APIv3密钥)")
    return AESGCM(key)
