"""What to put into a bug report."""

from __future__ import annotations

import platform
import re
from importlib.metadata import PackageNotFoundError, requires, version


def show_versions() -> None:
    """Print the versions of Python, of this package and of what it depends on; nothing about you or your keys.

    Examples
    --------
    >>> import wxcoupon_analytics as wx
    >>> wx.show_versions()
    python : 3...
    """
    print(f"python : {platform.python_version()} on {platform.system()} {platform.machine()}")  # noqa: T201
    names = [re.match(r"[\w.-]+", r)[0] for r in requires("wxcoupon-analytics") or []]  # type: ignore[index]
    for name in dict.fromkeys(["wxcoupon-analytics", *names]):
        try:
            found = version(name)
        except PackageNotFoundError:
            found = "not installed"
        print(f"{name} : {found}")  # noqa: T201
