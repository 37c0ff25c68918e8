"""Whether a file lies where SQLite's write-ahead log is not safe: its memory-mapped index is shared by one host only.

Source: https://sqlite.org/wal.html, "WAL does not work over a network filesystem".
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import psutil

# As the operating systems name them in their mount tables; whatever FUSE mounts over a network is called fuse.<program>.
_NETWORK = frozenset(
    (
        *(
            "9p",
            "afpfs",
            "afs",
            "beegfs",
            "ceph",
            "cifs",
            "coda",
            "davfs",
            "glusterfs",
            "gpfs",
            "lustre",
            "ncpfs",
            "nfs",
        ),
        *("nfs3", "nfs4", "orangefs", "smb", "smb2", "smb3", "smbfs", "sshfs", "vboxsf", "virtiofs", "webdav"),
        *("fuse.ceph", "fuse.cephfs", "fuse.davfs2", "fuse.gcsfuse", "fuse.glusterfs", "fuse.goofys", "fuse.juicefs"),
        *("fuse.mfs", "fuse.mount-s3", "fuse.rclone", "fuse.s3fs", "fuse.seaweedfs", "fuse.smbnetfs", "fuse.sshfs"),
    )
)


class Mount(Protocol):
    """A line of the mount table."""

    mountpoint: str
    fstype: str


def network_file_system(path: Path, mounts: Iterable[Mount] | None = None) -> str | None:
    """Name the network file system that a file lies on; None when it lies on a local one.

    ``mounts`` is the machine's own table by default.

    >>> from types import SimpleNamespace as Mount
    >>> table = [Mount(mountpoint="/", fstype="ext4"), Mount(mountpoint="/home", fstype="nfs4")]
    >>> network_file_system(Path("/home/ana/journal.sqlite3"), table)
    'nfs4'
    """
    table = psutil.disk_partitions(all=True) if mounts is None else mounts
    real = path.resolve()
    depth = {folder: len(folder.parts) for folder in (real, *real.parents)}
    # The last of those mounted at the deepest folder above the file: later mounts hide earlier ones.
    holding = [(depth[Path(mount.mountpoint)], mount.fstype) for mount in table if Path(mount.mountpoint) in depth]
    deepest = max((found for found, _ in holding), default=0)
    kind = next((fstype for found, fstype in reversed(holding) if found == deepest), "")
    return kind if kind.lower() in _NETWORK else None
