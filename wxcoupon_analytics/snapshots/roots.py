"""Where a store lies: a folder of this machine or of any file system that Arrow or fsspec knows by URI.

What is asked of it is little: list, open, put a file there whole or not at all, delete. A local file is staged, flushed
and renamed; an object store has no rename, but one upload is a file whole or none.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from wxcoupon_analytics.errors import SnapshotError, ValidationError

OURS: Final = ".store"  # everything that is not an entity's own files lies below it
STAGING: Final = f"{OURS}/staging"
_STAGING_BEFORE: Final = ".staging"  # of schema version 1
_LISTINGS: Final = 20


class Root:
    """A folder, here or behind a URI; every path given to it is relative and has forward slashes.

    Attributes
    ----------
    local : Path or None
        The folder, when it is one of this machine.
    shown : str
        What may be printed: the URI without user, password or query.
    uri : str
        The URI as given, credentials included, or the local path.
    """

    def __init__(self, given: str | os.PathLike[str]) -> None:
        self.uri = os.fspath(given)
        if "://" not in self.uri:
            self.filesystem: pafs.FileSystem = pafs.LocalFileSystem()
            self.base, self.shown = self.uri, self.uri
            self.local: Path | None = Path(given).expanduser()
            return
        parts = urlsplit(self.uri)
        self.shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        self.filesystem, self.base = _filesystem(self.uri, self.shown)
        self.local = Path(self.base) if isinstance(self.filesystem, pafs.LocalFileSystem) else None
        self.base = self.base.rstrip("/")

    def __repr__(self) -> str:
        return f"Root({self.shown!r})"

    def full(self, path: str) -> str:
        """Give a path as the file system knows it."""
        return str(self.local / path) if self.local is not None else f"{self.base}/{path}"

    def describe(self, path: str) -> str:
        """Give a path as a message may show it."""
        return str(self.local / path) if self.local is not None else f"{self.shown.rstrip('/')}/{path}"

    def files(self, folder: str) -> list[str]:
        """List the files below a folder, sorted.

        A listing is not one instant: a file that replaces others may be missed while they are already gone. So it is
        repeated until nothing vanished from one time to the next.
        """
        before = set(self._listed(folder))
        for _ in range(_LISTINGS):
            now = set(self._listed(folder))
            if before <= now:
                return sorted(now)
            before = now
        raise SnapshotError(f"{self.describe(folder)} changes faster than it can be listed: try again")

    def open(self, path: str) -> pa.NativeFile:
        """Open a file to read from any place in it."""
        return self.filesystem.open_input_file(self.full(path))

    def read(self, path: str) -> bytes:
        """Read a whole small file."""
        with self.open(path) as file:
            content: bytes = file.read()
        return content

    def put(self, path: str, write: Callable[[Any], None]) -> None:
        """Let ``write`` fill a file, and put it there whole or not at all."""
        if self.local is not None:
            self._rename(path, write)
        else:
            self._upload(path, write)

    def delete(self, path: str) -> None:
        """Delete a file, if it is still there and nobody holds it open."""
        with contextlib.suppress(FileNotFoundError, PermissionError):  # Windows keeps what someone reads
            if self.local is not None:
                (self.local / path).unlink()
            else:
                self.filesystem.delete_file(self.full(path))

    def sweep(self, *, older_than: float) -> list[str]:
        """Delete what killed writers left half-written more than so many seconds ago, and say what it was."""
        if self.local is None:  # an upload that was not finished is no file
            return []
        swept = []
        for folder in (STAGING, _STAGING_BEFORE):
            for path in self._listed(folder):
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - (self.local / path).stat().st_mtime > older_than:
                        self.delete(path)
                        swept.append(path)
        return swept

    def size(self, path: str) -> int:
        """Give a file's size in bytes; 0 when it is gone."""
        found: int | None = self.filesystem.get_file_info(self.full(path)).size
        return found or 0

    def _listed(self, folder: str) -> Iterator[str]:
        if self.local is not None:
            yield from _below(self.local / folder, folder)
            return
        start = len(self.base) + 1
        for found in self._listed_remotely(folder):
            if found.type == pafs.FileType.File:
                yield found.path.lstrip("/")[start - (self.base.startswith("/")) :]

    def _listed_remotely(self, folder: str) -> list[pafs.FileInfo]:
        """Ask for a listing, which is what every use of a store begins with: here it shows whether it can be reached."""
        selector = pafs.FileSelector(self.full(folder), recursive=True, allow_not_found=True)
        # The libraries behind fsspec (botocore, gcsfs, Azure's, aiohttp) have errors with no common base but this one.
        behind_fsspec = isinstance(self.filesystem, pafs.PyFileSystem)
        failures = (Exception,) if behind_fsspec else (OSError, pa.ArrowException)
        try:
            return self.filesystem.get_file_info(selector)  # type: ignore[no-any-return]
        except FileNotFoundError:
            raise
        except failures as error:
            place = urlsplit(self.uri).netloc
            said = f"{type(error).__name__}: {error}".replace(place, place.rpartition("@")[2])
        raise SnapshotError(
            f"{self.shown} cannot be listed ({said}): check the address, the network, and that this process has credentials "
            "that may list, read and write there"
        )  # anew: the first one's frames and text may hold the credentials of the URI

    def _rename(self, path: str, write: Callable[[Any], None]) -> None:
        assert self.local is not None
        target = self.local / path
        staged = self.local / STAGING / f"{secrets.token_hex(4)}-{target.name}"
        for folder in (staged.parent, target.parent):
            folder.mkdir(parents=True, exist_ok=True)
        try:
            with staged.open("xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            staged.replace(target)
        except BaseException:
            staged.unlink(missing_ok=True)
            raise
        # The move itself is durable once the folder is; so are the folders above it that were new. The file is saved
        # by now, and some file systems cannot flush a folder.
        for depth in range(len(PurePosixPath(path).parts)):
            with contextlib.suppress(OSError):
                _flush(target.parents[depth])

    def _upload(self, path: str, write: Callable[[Any], None]) -> None:
        """Upload in one call: a stream that is closed early, by Ctrl-C for one, would end as a file cut short."""
        with tempfile.TemporaryDirectory() as folder:
            staged = Path(folder) / "file"
            with staged.open("wb") as file:
                write(file)
            with pa.memory_map(str(staged)) as content:
                whole = content.read_buffer()
                try:
                    sink = self.filesystem.open_output_stream(self.full(path))
                except FileNotFoundError:  # file systems with real folders
                    self.filesystem.create_dir(str(PurePosixPath(self.full(path)).parent), recursive=True)
                    sink = self.filesystem.open_output_stream(self.full(path))
                with sink:
                    sink.write(whole)
                del whole


def _filesystem(uri: str, shown: str) -> tuple[pafs.FileSystem, str]:
    try:
        return pafs.FileSystem.from_uri(uri)  # type: ignore[no-any-return]
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        arrow = str(error).replace(uri, shown)
    try:
        import fsspec
    except ImportError as error:
        raise ValidationError(
            f"root={shown!r}: Arrow cannot open it ({arrow}); if fsspec can, install it: pip install fsspec"
        ) from error
    try:
        known, path = fsspec.core.url_to_fs(uri)
    except (ValueError, ImportError, OSError) as error:
        said = str(error).replace(uri, shown)
        raise ValidationError(f"root={shown!r}: neither Arrow ({arrow}) nor fsspec ({said}) can open it") from None
    return pafs.PyFileSystem(pafs.FSSpecHandler(known)), path


def _below(folder: Path, name: str) -> Iterator[str]:
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.is_dir():
            yield from _below(folder / entry.name, f"{name}/{entry.name}")
        else:
            yield f"{name}/{entry.name}"


def _flush(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder; its file systems journal the move
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
