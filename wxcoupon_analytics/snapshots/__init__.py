"""Frames as Parquet files in folders that any tool reads: a snapshot is there whole or not at all.

::

    data/
      stocks/
        month=2026-10/
          compacted-20261031T…-31-5bd1e9955bd1e995.parquet      a finished month's snapshots
        month=2026-11/
          20261102T100000000000Z-18a3c5f20d4b9e10-5f0c9a1e.parquet
      product_coupons/ …  user_coupons/ …  user_coupon_events/ …
      .store/                                     what is the store's own; outside the folders readers look into
        checkpoints/  current/  manifests/  registry/  staging/ …

Each file of an entity carries its declared Arrow schema and, first, the ``taken_at`` of each row.

``store`` is what users call, on what ``opened`` has in common for all of it. ``roots`` says where a store lies, ``names``
and ``files`` what its files say of themselves, ``contents`` which snapshots a folder holds. ``rows``, ``latest`` and
``reading`` read them, ``scanning`` hands them to other engines. ``compaction``, ``checkpoints`` and ``pruning`` keep the
files few. User coupons are ``coupons``: ``manifests`` has who was asked, ``registry`` everyone who is known, ``pseudonyms``
what they are called, and ``current`` the state that comes of it.
"""

from wxcoupon_analytics.snapshots.coupons import Merged as Merged
from wxcoupon_analytics.snapshots.store import Snapshot as Snapshot
from wxcoupon_analytics.snapshots.store import SnapshotStore as SnapshotStore

__all__ = ["Merged", "Snapshot", "SnapshotStore"]
