"""Brands to talk to, and callers to talk with."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from wxcoupon_analytics.sandbox import Sandbox

from .caller import Caller

pytest.importorskip("starlette", reason="needs the sandbox extra")
if shutil.which("openssl") is None:
    collect_ignore_glob = ["test_*.py"]  # every caller here signs with it


@pytest.fixture(scope="session")
def box() -> Iterator[Sandbox]:
    """The populated brand. Tests only read it."""
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def reader(box: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Caller:
    return Caller(box, tmp_path_factory.mktemp("reader"))


@pytest.fixture(scope="module")
def shop() -> Iterator[Sandbox]:
    """A brand with nothing in it; each test creates what it needs."""
    with Sandbox(population=False, rate_limits=False) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def caller(shop: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Caller:
    return Caller(shop, tmp_path_factory.mktemp("caller"))


@pytest.fixture(scope="module")
def partner(shop: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Caller:
    return Caller(shop, tmp_path_factory.mktemp("partner"), "partner")
