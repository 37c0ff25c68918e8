"""The process a Sandbox runs: ``python -m wxcoupon_analytics.sandbox``.

It says one line of JSON on standard output when it is ready to accept connections, with the port and the keys (never on a command
line, where other users could read them), and lives as long as its standard input is open. When the parent ends, even by
kill -9, the system closes that pipe, unless a child of the parent holds it too; so the parent itself is watched as well.
Nothing is left behind.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import socket
import sys
import threading
import time
from typing import Any

import uvicorn

from wxcoupon_analytics.sandbox.behaviour import Behaviour
from wxcoupon_analytics.sandbox.books import Books
from wxcoupon_analytics.sandbox.clock import DAY, BusinessClock
from wxcoupon_analytics.sandbox.connections import WireProtocol
from wxcoupon_analytics.sandbox.control import control_routes
from wxcoupon_analytics.sandbox.faults import FaultBox
from wxcoupon_analytics.sandbox.keys import BRAND, PARTNER, Keyring
from wxcoupon_analytics.sandbox.operations import Account, Operations
from wxcoupon_analytics.sandbox.population import Population, foreign_openids
from wxcoupon_analytics.sandbox.server import Box, api_routes, raw_path_app

BRAND_ID, MCHID, APPID = "120344", "1900001109", "wx233544546545989a"


def build(
    *, seed: int, start: int, history_days: int, behaviour: Behaviour | None, tick: bool, rate_limits: bool
) -> Box:
    """Open the books, and replay the history that leads up to the start; without a behaviour there are no customers."""
    books = Books()
    account = Account(BRAND_ID, MCHID, APPID, foreign_openids(seed))
    people = None
    if behaviour is not None:
        people = Population(books, behaviour, seed, start=start, since=start - history_days * DAY)
        books.agenda.run(start)
    operations = Operations(books, account, after_confirm=people.after_confirm if people else None)
    keyring = Keyring(brand_id=BRAND_ID, mchid=MCHID)
    clock = BusinessClock(start, tick=tick)
    return Box(
        books,
        clock,
        account,
        keyring,
        operations,
        faults=FaultBox(seed),
        rate_limits=rate_limits,
        people=people,
    )


def greeting(box: Box, *, port: int, token: str, behaviour: Behaviour | None) -> dict[str, Any]:
    """Return what the parent must know."""
    callers = {
        name: {"identity": caller.identity, "serial_no": caller.serial_no, "private_key": caller.private_pem()}
        for name, caller in box.keyring.callers.items()
    }
    return {
        "pid": os.getpid(),
        "port": port,
        "token": token,
        "clock_set_at": box.clock.set_at,
        "appid": box.account.appid,
        "brand": callers[BRAND.name],
        "partner": callers[PARTNER.name],
        "public_key_id": box.keyring.public_key_id,
        "public_key": box.keyring.public_pem(),
        "apiv3_key": box.keyring.apiv3_key,
        "behaviour": behaviour.to_document() if behaviour else None,
        "foreign_openids": sorted(box.account.foreign_openids),
    }


def _end_with_parent() -> None:
    """Wait for the end of standard input. Nothing needs saving: the books live in memory.

    The descriptor is read directly: a thread that waits inside ``sys.stdin`` holds a lock the interpreter wants when it ends.
    """
    while os.read(0, 1_024):
        pass
    os._exit(0)


def _end_with_process(parent: int) -> None:
    """Wait until the parent is no longer the parent: an orphan is given to another process at once."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)


def _behaviour(text: str) -> Behaviour:
    return Behaviour.from_document(json.loads(text))


def main() -> None:
    """Serve until the parent goes."""
    parser = argparse.ArgumentParser(prog="python -m wxcoupon_analytics.sandbox", description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--start", type=int, required=True, help="business time at the start, seconds since the epoch")
    parser.add_argument("--history-days", type=int, default=28)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--behaviour", type=_behaviour, help="of the customers, as JSON; without it there are none")
    parser.add_argument("--tick", action="store_true")
    parser.add_argument("--no-rate-limits", dest="rate_limits", action="store_false")
    parser.add_argument("--parent", type=int, default=os.getppid(), help="end when this process is not the parent")
    options = vars(parser.parse_args())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    threading.Thread(target=_end_with_process, args=(options.pop("parent"),), daemon=True).start()
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    port = options.pop("port")
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        sys.exit(f"port {port} of 127.0.0.1 cannot be had ({error.strerror}): take another, or 0 for a free one")
    box = build(**options)
    token = secrets.token_urlsafe(24)
    app = raw_path_app(api_routes(box) + control_routes(box, token))
    config = uvicorn.Config(
        app,
        http=WireProtocol,
        lifespan="off",
        log_level="error",  # an exception in a handler is a bug: standard error, which the parent captures, shall say which
        access_log=False,
        server_header=False,
        timeout_keep_alive=60,
    )
    listener.listen(config.backlog)  # before the greeting: whoever reads it may connect at once
    port = listener.getsockname()[1]
    sys.stdout.write(json.dumps(greeting(box, port=port, token=token, behaviour=options["behaviour"])) + "\n")
    sys.stdout.flush()
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
