"""Who is sent nothing, so that one can see later what sending did.

A user is held out when a hash of (campaign, seed, openid) falls below the share: each alone, by a draw that anybody can
repeat. So an audience that grows, shrinks or is sorted anew moves nobody between the arms; the price is that the number
held out is itself a draw, of ``n`` users ``n × share`` give or take ``sqrt(n × share × (1 − share))``. Strata change
nobody's draw either (a user who moves to another city stays in the same arm): within each, the share is the same, and the
plan counts the arms of each, so that one in which nothing can be compared is seen before anything is sent.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from json.encoder import encode_basestring_ascii

_VERSION = "wxcoupon-holdout-1"
# As many bits as a float has: all of them would round up to 1 now and then.
_BITS = 53


def draws(campaign: str, seed: int, openids: Iterable[str]) -> list[float]:
    """Draw a number in [0, 1) for each user; who draws less than the share is held out.

    >>> [round(draw, 4) for draw in draws("double-11", 0, ["oh-394z-6CGkNoJrsDLTTUKiAnp4", "oAnotherUser"])]
    [0.5639, 0.4914]
    """
    head = hashlib.sha256(json.dumps([_VERSION, campaign, seed], separators=(",", ":"))[:-1].encode() + b",")
    drawn = []
    for openid in openids:
        digest = head.copy()
        digest.update((encode_basestring_ascii(openid) + "]").encode())
        drawn.append((int.from_bytes(digest.digest()[:8], "big") >> (64 - _BITS)) / 2**_BITS)
    return drawn
