"""Keys made, and signatures made and checked, by the openssl command line: never by the code under test."""

from __future__ import annotations

import base64
import subprocess
from functools import cache
from pathlib import Path


def openssl(*args: str, stdin: bytes = b"") -> bytes:
    done = subprocess.run(["openssl", *args], input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@cache
def private_key(name: str = "caller") -> str:
    """A PKCS#8 private key; the same one for the same name within a run."""
    return openssl("genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048").decode()


@cache
def public_key(name: str = "caller") -> str:
    return openssl("pkey", "-pubout", stdin=private_key(name).encode()).decode()


@cache
def pkcs1_key(name: str = "caller") -> str:
    return openssl("rsa", "-traditional", stdin=private_key(name).encode()).decode()


def certificate(tmp_path: Path, name: str = "platform") -> str:
    key = tmp_path / f"{name}.pem"
    key.write_text(private_key(name))
    return openssl("req", "-x509", "-new", "-key", str(key), "-subj", "/CN=Tenpay", "-days", "30").decode()


def sign(message: bytes, tmp_path: Path, name: str = "platform") -> str:
    key = tmp_path / f"{name}.sign.pem"
    key.write_text(private_key(name))
    return base64.b64encode(openssl("dgst", "-sha256", "-sign", str(key), stdin=message)).decode()


def signature_fits(message: bytes, signature: str, key_pem: str, tmp_path: Path) -> bool:
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
