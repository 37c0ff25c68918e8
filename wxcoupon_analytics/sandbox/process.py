"""The server process as its parent holds it: launched, asked, and ended, however the parent ends.

It imports nothing heavy, because `Sandbox` is imported by the server too.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from wxcoupon_analytics.errors import WxCouponError


def launch(owner: object, arguments: Sequence[str]) -> tuple[dict[str, Any], weakref.finalize[..., Any]]:
    """Start the server, wait until it accepts connections, and give its greeting and what ends it.

    It ends with ``owner`` at the latest, and by itself when this process is gone.
    """
    errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by _finish
    process = subprocess.Popen(  # noqa: S603 - our own module, our own arguments
        [sys.executable, "-P", "-m", "wxcoupon_analytics.sandbox", *arguments, f"--parent={os.getpid()}"],
        stdin=subprocess.PIPE,  # stays open while we live; its end is the server's
        stdout=subprocess.PIPE,
        stderr=errors,
        env=os.environ | {"PYTHONPATH": _search_path()},
        start_new_session=True,  # Ctrl-C in a notebook stops the cell, not the brand
    )
    end = weakref.finalize(owner, _finish, process, errors)
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        process.wait()
        errors.seek(0)
        said = errors.read().decode("utf-8", "replace").strip().rpartition("\n")[2]
        end()
        raise WxCouponError(f"the embedded brand could not start: {said or f'exit status {process.returncode}'}")
    greeting: dict[str, Any] = json.loads(line)
    return greeting, end


def ask(greeting: Mapping[str, Any], method: str, path: str, body: object = None) -> Any:
    """Ask the control routes; plain http.client, so that no proxy setting of the machine comes between."""
    connection = http.client.HTTPConnection("127.0.0.1", greeting["port"], timeout=120)
    try:
        headers = {"Authorization": f"Bearer {greeting['token']}"}
        connection.request(method, f"/_sandbox/{path}", None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    if answer.status == 400:
        raise ValueError(json.loads(content)["error"])
    if answer.status != 200:
        raise WxCouponError(f"the embedded brand answered its own control route /_sandbox/{path} with {answer.status}")
    return json.loads(content)


def _search_path() -> str:
    """Return where the child finds this very package, installed or not."""
    ours = str(Path(__file__).resolve().parents[2])
    inherited = os.environ.get("PYTHONPATH")
    return ours if not inherited else os.pathsep.join([ours, inherited])


def _finish(process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
    """End the server and reap it: closing its standard input is the request, killing it the last resort."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
    errors.close()
