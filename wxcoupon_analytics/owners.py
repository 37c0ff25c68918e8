"""Which process is at work, and whether another one still is.

A process id alone says nothing: ids come round again, on one machine within minutes. With the time the process started, and
the host and pid namespace the id belongs to, it names one process for ever.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil

# Start times are read off the machine's clock, which may be set meanwhile; ids do not come round within two seconds.
_SAME_START_SECONDS = 2.0
# A run at work shows itself every few seconds. One that has not for so long is over, though its process may idle on.
SILENCE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Owner:
    """A process: where it runs, its id there, and when it started (seconds since 1970)."""

    host: str
    pid: int
    started: float

    @classmethod
    def here(cls, pid: int | None = None) -> Owner:
        """Give the process that asks, or another one of this machine."""
        process = psutil.Process(pid)
        return cls(_host(), process.pid, process.create_time())

    def lives(self, beat_at: datetime) -> bool:
        """Whether it is still at work: heard of lately, and, where that can be seen, still running."""
        return datetime.now(UTC) - beat_at < SILENCE and self.runs() is not False

    def runs(self) -> bool | None:
        """Whether it is still running; None where that cannot be seen."""
        if self.host != _host():
            return None
        try:
            process = psutil.Process(self.pid)
            # A killed child that nobody has waited for keeps its id, and does nothing any more.
            dead = process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
            return not dead and abs(process.create_time() - self.started) < _SAME_START_SECONDS
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return None


def _host() -> str:
    namespace = Path("/proc/self/ns/pid")
    # Two containers may share a host name and a home folder, and see nothing of each other's processes.
    return f"{socket.gethostname()} {namespace.readlink()}" if namespace.is_symlink() else socket.gethostname()
