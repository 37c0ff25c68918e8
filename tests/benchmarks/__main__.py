"""Run the benchmarks and write down what they printed, with the machine: ``python -m tests.benchmarks [NAME …]``.

Without names all of them, which takes half an hour on two cores and 12 GB of disk; with names only these sections of
RESULTS.md are written anew. Nothing else should be running.
"""

from __future__ import annotations

import datetime as dt
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

RESULTS = Path(__file__).with_name("RESULTS.md")
COMMANDS = {
    "wire": "python -m tests.benchmarks.wire --sustained 60 --requests 100000",
    "flatten": "python -m tests.benchmarks.flatten",
    "state_breakdown": "python -m tests.benchmarks.state_breakdown --large 100000000",
    "snapshots": "python -m tests.benchmarks.snapshots 100000",
    "fetch": "python -m tests.benchmarks.fetch --users 20000",
    "actions": "python -m tests.benchmarks.actions --plan 200000",
    "report": "python -m tests.benchmarks.report",
    "imports": "python -m tests.benchmarks.imports",
}
HEAD = "# What the benchmarks printed\n\nWritten by `python -m tests.benchmarks`. Ratios are within one run; absolute figures move by a fifth from run to run.\n"


def cpu() -> str:
    models = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", models.read_text()) if models.exists() else None
    return found[1] if found else platform.processor()


def section(name: str) -> str:
    command = COMMANDS[name]
    argv = [sys.executable, *command.split()[1:]]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True, cwd=RESULTS.parents[2])
    machine = f"{dt.datetime.now(dt.UTC).date()}, {os.cpu_count()} cores of {cpu()}, Python {platform.python_version()}"
    return f"## `{command}`\n\n{machine}\n\n```\n{done.stdout.strip()}\n```\n"


def main(names: list[str]) -> None:
    kept: dict[str, str] = {}
    if RESULTS.exists():
        for text in re.split(r"^(?=## )", RESULTS.read_text(encoding="utf-8"), flags=re.M)[1:]:
            kept |= {name: text for name in COMMANDS if f"benchmarks.{name}" in text or f"benchmarks/{name}" in text}
    for name in names or COMMANDS:
        print(f"{name} …", file=sys.stderr)
        kept[name] = section(name)
        RESULTS.write_text(
            "\n".join([HEAD, *(kept[n].rstrip() + "\n" for n in COMMANDS if n in kept)]), encoding="utf-8"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
