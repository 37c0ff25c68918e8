from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Iterator

import pytest

import wxcoupon_analytics as wx
from tests import keys
from tests.shop import product_coupon


@atexit.register
def _the_interpreter_ends_quietly() -> None:
    """DuckDB 2.0 under Narwhals prints pages about "leaked" types while Python ends, after pytest has said its last word."""
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


# A shell that starts the tests in the background has them ignore SIGINT, and no Stop button would work.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def credentials() -> wx.Credentials:
    return brand_credentials()


def brand_credentials(**changes: object) -> wx.Credentials:
    """Credentials of a brand that calls as `caller` and is answered by `platform`."""
    values: dict[str, object] = {
        "brand_id": "120344",
        "serial_no": "5157F09EFDC096DE15EBE81A47057A72",
        "private_key": keys.private_key("caller"),
        "public_key_id": "PUB_KEY_ID_0112233",
        "public_key": keys.public_key("platform"),
    }
    return wx.Credentials.brand(**{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def box() -> Iterator[wx.Sandbox]:
    """The embedded brand with its whole seeded history; tests that change it make their own."""
    with wx.Sandbox(seed=7) as box:
        yield box


@pytest.fixture
def client(box: wx.Sandbox) -> Iterator[wx.Client]:
    with box.client() as client:
        yield client


@pytest.fixture
def small():
    """A brand of one's own to change: a stock that is SENDING and nothing else."""
    with wx.Sandbox(seed=1, population=False) as box, box.client() as client:
        created = client.api.create_product_coupon(product_coupon())
        box.advance(hours=1)
        yield box, client, created["product_coupon_id"], created["stock"]["stock_id"]
