"""A store that is open: where it lies, who is in it, and how a call goes on when another process changes it."""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, TypeVar

import pandas as pd
import platformdirs
import pyarrow as pa

from wxcoupon_analytics.entities.schemas import TEXT, frame_of
from wxcoupon_analytics.errors import SnapshotError, ValidationError
from wxcoupon_analytics.snapshots.coupons import Coupons
from wxcoupon_analytics.snapshots.current import COUPONS
from wxcoupon_analytics.snapshots.engines import spilling
from wxcoupon_analytics.snapshots.files import Footer
from wxcoupon_analytics.snapshots.instants import BEIJING
from wxcoupon_analytics.snapshots.pseudonyms import Pseudonyms
from wxcoupon_analytics.snapshots.reading import Reading
from wxcoupon_analytics.snapshots.registry import USERS, Registry
from wxcoupon_analytics.snapshots.roots import OURS, Root

T = TypeVar("T")
log = logging.getLogger(__name__)
_TRIES: Final = 8
_SCRATCH: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class OpenStore:
    """The part of a store that does not depend on what is stored."""

    def __init__(self, root: str | os.PathLike[str], *, pseudonymize: bytes | str | None = None) -> None:
        self._root = Root(root)
        self.root: Path | str = self._root.local if self._root.local is not None else self._root.shown
        self._names = Pseudonyms(self._root, pseudonymize)
        self._registry = Registry(self._root)
        self._footers: dict[str, Footer] = {}
        self._reading = Reading(self._root, self._registry, self._footers)
        self._coupons = Coupons(self._root, self._names, self._registry, self._footers)

    def __repr__(self) -> str:
        return f"SnapshotStore({str(self.root)!r})"

    @property
    def pseudonymous(self) -> bool:
        """Whether openids are stored as keyed hashes."""
        return self._names.keyed

    def pseudonym(self, openid: str) -> str:
        """Give an openid as it is stored: itself, or its keyed hash.

        Examples
        --------
        >>> from wxcoupon_analytics.snapshots import SnapshotStore
        >>> SnapshotStore("data", pseudonymize=b"sixteen bytes at least").pseudonym("oABC")
        'p1_GcNic8bLq6yYvIJkpjGWhof9opzJr2xVNPhSQ8tXPMI'
        >>> SnapshotStore("data").pseudonym("oABC")
        'oABC'
        """
        return self._names.of(openid)

    def check_key(self) -> None:
        """Refuse to write what would not go with what is there: what writes, asks this first.

        Raises
        ------
        SnapshotError
            When the store was written with another key, with one and there is none now, or the other way round.
        """
        self._names.check(empty=lambda: self._registry.empty and not self._root.files(COUPONS.name))

    def add_openids(self, openids: Iterable[str], *, appid: str) -> int:
        """Register users, so that everyone known of can be fetched.

        Users of saved user coupons and of their events are registered without being asked.

        Parameters
        ----------
        openids : iterable of str
        appid : str
            The app the openids belong to.

        Returns
        -------
        int
            How many were new.

        Raises
        ------
        ValidationError
            An openid is empty or no text.
        SnapshotError
            The store cannot be written, or not with this key.
        """
        if isinstance(openids, str | bytes):
            raise ValidationError("openids must be a list or a column of texts, not one text")
        listed = list(openids)
        if wrong := [type(openid).__name__ for openid in listed if not isinstance(openid, str) or not openid.strip()]:
            raise ValidationError(
                f"openids has {len(wrong)} that are no text or empty (the first is of type {wrong[0]})"
            )
        self.check_key()
        stored = pa.array([self._names.of(openid) for openid in listed], TEXT)
        users = pa.Table.from_arrays([pa.repeat(pa.scalar(appid, TEXT), len(stored)), stored], schema=USERS)
        return self._register(users, dt.datetime.now(BEIJING))

    def openids(self, *, appid: str | None = None) -> pd.DataFrame:
        """List the users that are known: registered, or seen in user coupons or their events.

        Parameters
        ----------
        appid : str, optional
            Only those of this app.

        Returns
        -------
        DataFrame
            ``appid`` and ``openid`` (string; as stored, see :meth:`pseudonym`) and ``first_seen``
            (datetime64[us, Asia/Shanghai]), the earliest first.

        Examples
        --------
        >>> from wxcoupon_analytics.snapshots import SnapshotStore
        >>> SnapshotStore("no/such/folder").openids().columns.tolist()
        ['appid', 'openid', 'first_seen']
        """
        return self._settled(lambda: frame_of(self._registry.users(appid, also=self._unregistered())))

    def scratch(self, name: str) -> Path:
        """Give the folder of this machine where a fetch into this store keeps what it needs to go on after a kill.

        It is made by whoever uses it, and deleted when the fetch is done.

        Raises
        ------
        ValidationError
            ``name`` could not be a file's.
        """
        if not _SCRATCH.fullmatch(name):
            raise ValidationError(f"name={name!r}: letters, digits, _, - and . only, and not a dot first")
        if self._root.local is not None:
            return self._root.local / OURS / "fetches" / name
        of_store = hashlib.blake2b(self._root.shown.encode(), digest_size=8).hexdigest()
        return platformdirs.user_state_path("wxcoupon_analytics") / "fetches" / of_store / name

    def _path(self, path: str) -> Path | str:
        return self._root.local / path if self._root.local is not None else self._root.describe(path)

    def _register(self, users: pa.Table, seen: dt.datetime) -> int:
        def add() -> int:
            before = self._unregistered()
            with spilling() as connection:
                self._registry.add(connection, before, seen=seen)
                return self._registry.add(connection, users, seen=seen)

        return self._settled(add)

    def _tidy(self, entity: str, tidy: Callable[[], None]) -> None:
        """Keep files few and readings fast. What goes wrong here has not harmed what was saved."""
        try:
            tidy()
        except FileNotFoundError as error:
            log.info("another process put what is stored of %s together: %s", entity, error)
        except SnapshotError as error:
            log.warning("what is stored of %s stays as it was, not put together: %s", entity, error)

    def _settled(self, read: Callable[[], T]) -> T:
        """Read again when a file that was listed has been replaced by another meanwhile."""
        for _ in range(_TRIES):
            try:
                return read()
            except FileNotFoundError as error:
                gone = error
        raise SnapshotError(f"{self._root.shown} changes faster than it can be read, or a file was taken out: {gone}")

    def _unregistered(self) -> pa.Table:
        """Find the users of a store from before there was a registry."""
        if not self._registry.empty or not self._root.files(COUPONS.name):
            return USERS.empty_table()
        return self._reading.latest(COUPONS, None, [*COUPONS.key, *USERS.names], USERS.names, None)
