"""One embedded brand for several processes: one of them serves it, notebooks and commands find it by its folder.

::

    data/sandbox/
      wxcoupon.toml       what Credentials.load reads: the brand's keys, and its hosts
      sandbox.json        the handle: what else a `Sandbox` knows of its server
      journal.sqlite3     what was done to it, by whichever notebook
      snapshots/          where the notebooks keep what they fetched of it
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import tempfile
import time
import weakref
from dataclasses import asdict
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from dotenv import dotenv_values

from wxcoupon_analytics.errors import WxCouponError
from wxcoupon_analytics.owners import Owner
from wxcoupon_analytics.sandbox import SHANGHAI, Behaviour, Sandbox

if TYPE_CHECKING:
    from wxcoupon_analytics import Client

CONFIG: Final = "wxcoupon.toml"
_HANDLE: Final = "sandbox.json"
_JOURNAL: Final = "journal.sqlite3"
_SNAPSHOTS: Final = "snapshots"
_SILENT = (OSError, ValueError, http.client.HTTPException, WxCouponError)  # nobody there, or somebody else
_OF_ANOTHER_SHAPE = (ValueError, TypeError, KeyError, AttributeError)  # what reading such a document raises
_BELIEVED_SECONDS = 1.0  # another process may move business time, but not every page of a fetch need ask


class SharedSandbox(Sandbox):
    """A brand whose journal outlives a client; served by this process, or, given a greeting, by another one.

    Attributes
    ----------
    folder : Path
        What belongs to this brand and ends with it: its journal, and snapshots.
    """

    def __init__(self, folder: Path, greeting: dict[str, Any] | None = None, **options: Any) -> None:
        if greeting is not None and greeting.get("behaviour") is not None:
            options["behaviour"] = Behaviour.from_document(greeting["behaviour"])
        super().__init__(**options)
        self.folder = folder
        self._greeting = greeting
        self._asked = float("-inf")

    def client(self, *, flavour: Literal["brand", "partner"] = "brand", **options: Any) -> Client:
        """Connect to this brand, with the journal that all who share it write."""
        return super().client(flavour=flavour, **{"journal": self.folder / _JOURNAL, **options})

    def now(self) -> datetime:
        """Return business time, which others may have moved."""
        if time.monotonic() - self._asked > _BELIEVED_SECONDS:
            self._asked = time.monotonic()
            self.advance()
        return super().now()


def serve_now(*, seed: int, port: int = 0) -> Sandbox:
    """Make a brand whose business time is the present, so that programs without its clock agree with it."""
    return Sandbox(seed=seed, port=port, start=datetime.now(SHANGHAI), tick=True)


def publish(box: Sandbox, folder: Path) -> Path:
    """Write what other processes need to use a running brand, for this user's eyes only, and give its configuration.

    Raises
    ------
    WxCouponError
        The folder is another running brand's: those who use that one would find this one in its place.
    """
    greeting = box._known
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / _HANDLE).exists():
        before = _read_handle(folder / _HANDLE)
        if before is not None and before["token"] != greeting["token"] and Owner(**before["server"]).runs():
            raise WxCouponError(
                f"the embedded brand of {folder} is being served already, on port {before['port']}: use that one, end it, "
                "or name another folder"
            )
        _forget(folder)
    brand = greeting["brand"]
    values = {
        "brand_id": brand["identity"],
        "serial_no": brand["serial_no"],
        "private_key": brand["private_key"],
        "public_key_id": greeting["public_key_id"],
        "public_key": greeting["public_key"],
        "apiv3_key": greeting["apiv3_key"],
        "hosts": list(box.hosts),
    }
    lines = ["# An embedded brand of wxcoupon-analytics: these keys open nothing else, and end with it."]
    lines += [f"{name} = {json.dumps(value)}" for name, value in values.items()]  # such JSON is TOML
    _write_private(folder / _HANDLE, json.dumps({"server": asdict(Owner.here(greeting["pid"])), **greeting}))
    _write_private(folder / CONFIG, "\n".join(lines) + "\n")
    return folder / CONFIG


def shared() -> SharedSandbox:
    """Give the brand whose configuration WXCOUPON_CONFIG names, else the one of this process."""
    handle = _configured()
    if handle is None:
        box = _of_this_process()
        if box._greeting is None:
            _forget(box.folder)
        box.start()
        return box
    greeting = _read_handle(handle)
    if greeting is not None:
        with contextlib.suppress(*_SILENT, *_OF_ANOTHER_SHAPE):
            box = SharedSandbox(handle.parent, greeting)
            box.now()
            return box
    raise WxCouponError(
        f"WXCOUPON_CONFIG names the embedded brand of {handle.parent}, which is not served any more: "
        "start `wxcoupon sandbox` again, or take the variable away"
    )


def shared_journal() -> Path | None:
    """Name the journal of the brand whose configuration WXCOUPON_CONFIG names; None if that is no embedded one."""
    handle = _configured()
    return None if handle is None else handle.with_name(_JOURNAL)


def _configured() -> Path | None:
    config = os.environ.get("WXCOUPON_CONFIG") or dotenv_values(".env").get("WXCOUPON_CONFIG")
    handle = Path(config).expanduser().with_name(_HANDLE) if config else None
    return handle if handle is not None and handle.is_file() else None


def _read_handle(path: Path) -> dict[str, Any] | None:
    """Read who served here last; None if that cannot be told."""
    try:
        greeting: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known = isinstance(greeting["port"], int) and isinstance(greeting["token"], str)
        server = Owner(**greeting["server"])
        known &= isinstance(server.pid, int) and isinstance(server.started, float)
    except _OF_ANOTHER_SHAPE:
        return None
    return greeting if known else None


@cache
def _of_this_process() -> SharedSandbox:
    folder = Path(tempfile.mkdtemp(prefix="wxcoupon-"))
    box = SharedSandbox(folder)
    weakref.finalize(box, shutil.rmtree, folder, ignore_errors=True)
    return box


def _forget(folder: Path) -> None:
    """Take away what tells of a brand that ended with its server."""
    for old in folder.glob(f"{_JOURNAL}*"):
        old.unlink()
    shutil.rmtree(folder / _SNAPSHOTS, ignore_errors=True)


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
