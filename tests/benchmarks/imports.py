"""What it costs to import us, beside pandas: ``python -m tests.benchmarks.imports``.

CPU seconds of a fresh interpreter, the empty one's taken off; the least of several interleaved runs.
"""

from __future__ import annotations

import resource
import subprocess
import sys

STATEMENTS = {
    "nothing": "pass",
    "pandas": "import pandas",
    "wxcoupon_analytics": "import wxcoupon_analytics",
    "… and its first frame": "import wxcoupon_analytics as wx; wx.load_sample('stocks')",
}


def cpu_seconds(statement: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", statement], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)


def main(rounds: int = 7) -> None:
    least = dict.fromkeys(STATEMENTS, float("inf"))
    for _ in range(rounds):
        for name, statement in STATEMENTS.items():
            least[name] = min(least[name], cpu_seconds(statement))
    empty = least.pop("nothing")
    for name, seconds in least.items():
        print(f"{name:24} {seconds - empty:6.3f} s = {(seconds - empty) / (least['pandas'] - empty):5.2f} × pandas")


if __name__ == "__main__":
    main()
