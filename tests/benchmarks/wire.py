"""What a signed send costs, how fast sends can go, and whether memory stays flat: ``python -m tests.benchmarks.wire``.

Ratios within one run, against three things beside us: the RSA signature alone; a bare loop over aiohttp that signs, sends
and verifies and does nothing else (no client over aiohttp can be cheaper); and the PyPI package ``wechatpayv3`` (its async
client, the same server, the same body). ``--sustained 60`` sends 500 a second for a minute against
the documented limit; ``--requests 100000`` watches memory.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import gc
import json
import logging
import platform
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

import wxcoupon_analytics as wx
from tests.shop import product_coupon
from wxcoupon_analytics.wire import signing

IN_FLIGHT = 64


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def open_shop(box: wx.Sandbox, client: wx.Client) -> dict[str, str]:
    made = client.api.create_product_coupon(product_coupon("bench_1", max_count=100_000_000, max_count_per_user=100))
    box.advance(hours=1)
    return {"product_coupon_id": made["product_coupon_id"], "stock_id": made["stock"]["stock_id"], "appid": box.appid}


def sends(ids: dict[str, str], name: str, count: int) -> Iterator[tuple[str, dict[str, str]]]:
    return ((f"oBench-{name}-{i:08d}", {**ids, "send_request_no": f"{name}-{i:010d}"}) for i in range(count))


def cost_of_a_signature(client: wx.Client, count: int = 1000) -> float:
    key, message = client.credentials.private_key, b"x" * 400
    begin = cpu_seconds()
    for _ in range(count):
        key.sign(message, signing._PADDING, signing._HASH)
    return (cpu_seconds() - begin) / count


def ours(client: wx.Client, calls: Iterator[tuple[str, dict[str, str]]]) -> int:
    outcomes = Counter(type(answer) for answer in client.api.map("send_coupon", calls, in_flight=IN_FLIGHT))
    assert set(outcomes) == {dict}, outcomes
    return outcomes[dict]


def bare(box: wx.Sandbox, client: wx.Client, calls: Iterator[tuple[str, dict[str, str]]]) -> int:
    """The floor: sign, send, verify; no pacing, no retries, no errors, no check of the answer, no result."""
    creds = client.credentials
    key = creds.public_keys[creds.public_key_id]

    async def main() -> int:
        done = 0
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), connector=connector) as session:

            async def worker() -> None:
                nonlocal done
                for openid, body in calls:
                    path = f"/brand/marketing/product-coupon/users/{openid}/coupons"
                    content = json.dumps(body).encode()
                    headers = {
                        "Authorization": signing.authorization(creds, "POST", path, content),
                        "Accept": "application/json",
                        "Content-Type": "application/json",
                        "Wechatpay-Serial": creds.public_key_id,
                    }
                    url = URL(box.hosts[0] + path, encoded=True)
                    async with session.post(url, data=content, headers=headers, allow_redirects=False) as answer:
                        said = answer.headers
                        signed = f"{said['Wechatpay-Timestamp']}\n{said['Wechatpay-Nonce']}\n".encode()
                        signature = base64.b64decode(said["Wechatpay-Signature"])
                        key.verify(signature, signed + await answer.read() + b"\n", signing._PADDING, signing._HASH)
                    done += 1

            await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
        return done

    return asyncio.run(main())


def theirs(box: wx.Sandbox, calls: Iterator[tuple[str, dict[str, str]]]) -> int:
    """The same sends through wechatpayv3's async client, as a partner: the only flavour it speaks."""
    from wechatpayv3.async_.core import AsyncCore
    from wechatpayv3.async_.type import RequestType

    keys = box._keys("partner")

    async def main() -> int:
        core = AsyncCore(
            box.mchid,
            keys["serial_no"],
            keys["private_key"]
            .replace("-----BEGIN PRIVATE KEY-----", "")
            .replace("-----END PRIVATE KEY-----", "")
            .strip(),
            keys["apiv3_key"],
            public_key=keys["public_key"],
            public_key_id=keys["public_key_id"],
            timeout=30,
        )
        core._gate_way = box.hosts[0]
        done = 0
        async with core:

            async def worker() -> None:
                nonlocal done
                for openid, body in calls:
                    path = f"/v3/marketing/partner/product-coupon/users/{openid}/coupons"
                    headers = {"Wechatpay-Serial": keys["public_key_id"]}
                    code, message = await core.request(
                        path, method=RequestType.POST, data={"brand_id": box.brand_id, **body}, headers=headers
                    )
                    assert code == 200, message
                    done += 1

            await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
        return done

    return asyncio.run(main())


def measured(work: Callable[[], int]) -> tuple[float, float]:
    """CPU seconds of this process per send, and sends a second."""
    gc.collect()
    cpu, wall = cpu_seconds(), time.perf_counter()
    count = work()
    return (cpu_seconds() - cpu) / count, count / (time.perf_counter() - wall)


def compare(count: int, rounds: int) -> None:
    with wx.Sandbox(seed=1, population=False, rate_limits=False) as box, box.client(rate=100_000) as client:
        ids = open_shop(box, client)
        ours(client, sends(ids, "warm", 200))
        best: dict[str, tuple[float, float]] = {}
        rsa = min(cost_of_a_signature(client) for _ in range(rounds))
        for number in range(rounds):
            runs: dict[str, Callable[[], int]] = {
                "ours": lambda n=number: ours(client, sends(ids, f"ours{n}", count)),
                "bare aiohttp": lambda n=number: bare(box, client, sends(ids, f"bare{n}", count)),
                "wechatpayv3": lambda n=number: theirs(box, sends(ids, f"peer{n}", count // 4)),
            }
            for name, run in runs.items():
                try:
                    best[name] = min(best.get(name, (9.0, 0.0)), measured(run))
                except ImportError:
                    print(f"{name} is not installed: pip install wechatpayv3 aiofiles")
            rsa = min(rsa, cost_of_a_signature(client))
        print(f"RSA signature alone       {rsa * 1e3:7.3f} ms of CPU")
        for name, (cpu, rate) in best.items():
            print(
                f"a send, {name:16}  {cpu * 1e3:7.3f} ms of CPU = {cpu / rsa:5.2f} × the signature, {rate:6,.0f} a second"
            )
        print(f"ours / bare aiohttp       {best['ours'][0] / best['bare aiohttp'][0]:7.2f}")
        if "wechatpayv3" in best:
            print(f"ours / wechatpayv3        {best['ours'][0] / best['wechatpayv3'][0]:7.2f}")


def sustain(seconds: int) -> None:
    seen: Counter[str] = Counter()

    class Count(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if len(record.args or ()) == 3:
                seen[str(record.args[1])] += 1  # type: ignore[index]

    log = logging.getLogger("wxcoupon_analytics.wire.exchange")
    log.setLevel("DEBUG")
    log.propagate = False
    log.addHandler(Count())
    with wx.Sandbox(seed=1, population=False) as box, box.client() as client:
        ids = open_shop(box, client)
        seen.clear()
        cpu, begin = cpu_seconds(), time.perf_counter()
        count = ours(client, sends(ids, "steady", 500 * seconds))
        wall = time.perf_counter() - begin
        share = (cpu_seconds() - cpu) / wall
        refused = seen["429"] / sum(seen.values())
        print(f"{count:,} sends in {wall:.1f} s = {count / wall:.0f} a second, {refused:.3%} answered 429")
        who = "the limit" if count / wall > 490 else "the client" if share > 0.9 else "the server or the machine"
        print(f"client used {share:.0%} of a core; the bottleneck was {who}")


def watch_memory(requests: int) -> None:
    with wx.Sandbox(seed=1, population=False, rate_limits=False) as box, box.client(rate=100_000) as client:
        ids = open_shop(box, client)
        step = max(requests // 10, 1)
        for number in range(10):
            ours(client, sends(ids, f"mem{number}", step))
            gc.collect()
            print(f"{(number + 1) * step:9,} requests: {resident_mb():6.1f} MB resident")


def main() -> None:
    arguments: Any = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--count", type=int, default=6000)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--sustained", type=int, default=0, metavar="SECONDS")
    arguments.add_argument("--requests", type=int, default=0)
    options = arguments.parse_args()
    print(f"{platform.machine()}, Python {platform.python_version()}")
    compare(options.count, options.rounds)
    if options.sustained:
        sustain(options.sustained)
    if options.requests:
        watch_memory(options.requests)


if __name__ == "__main__":
    main()
