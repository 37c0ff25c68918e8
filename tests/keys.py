"""Keys, and signatures made and checked by the openssl command line: never by the code under test."""

from __future__ import annotations

import base64
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

HAVE_OPENSSL = shutil.which("openssl") is not None


def openssl(*args: str, stdin: bytes = b"") -> bytes:
    if not HAVE_OPENSSL:
        pytest.skip("needs the openssl command line")
    done = subprocess.run(["openssl", *args], input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@cache
def _key(name: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _pem(name: str, form: serialization.PrivateFormat) -> str:
    return _key(name).private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


def private_key(name: str = "caller") -> str:
    """A PKCS#8 private key; the same one for the same name within a run."""
    return _pem(name, serialization.PrivateFormat.PKCS8)


def pkcs1_key(name: str = "caller") -> str:
    return _pem(name, serialization.PrivateFormat.TraditionalOpenSSL)


def public_key(name: str = "caller") -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return _key(name).public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def certificate(tmp_path: Path, name: str = "platform") -> str:
    key = tmp_path / f"{name}.pem"
    key.write_text(private_key(name))
    return openssl("req", "-x509", "-new", "-key", str(key), "-subj", "/CN=Tenpay", "-days", "30").decode()


def sign(message: bytes, tmp_path: Path, name: str = "platform") -> str:
    """Sign as the platform does; with openssl where there is one, so that two implementations must agree."""
    if not HAVE_OPENSSL:
        return base64.b64encode(_key(name).sign(message, padding.PKCS1v15(), hashes.SHA256())).decode()
    key = tmp_path / f"{name}.sign.pem"
    key.write_text(private_key(name))
    return base64.b64encode(openssl("dgst", "-sha256", "-sign", str(key), stdin=message)).decode()


def signature_fits(message: bytes, signature: str, key_pem: str, tmp_path: Path) -> bool:
    if not HAVE_OPENSSL:
        pytest.skip("needs the openssl command line")
    (tmp_path / "check.pem").write_text(key_pem)
    (tmp_path / "check.sig").write_bytes(base64.b64decode(signature, validate=True))
    done = subprocess.run(
        [
            "openssl",
            "dgst",
            "-sha256",
            "-verify",
            str(tmp_path / "check.pem"),
            "-signature",
            str(tmp_path / "check.sig"),
        ],
        input=message,
        capture_output=True,
        check=False,
    )
    return done.stdout.strip() == b"Verified OK"
