"""Stores on this machine and behind moto's S3 server, which speaks the real protocol on loopback."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator

import pytest

from wxcoupon_analytics.snapshots import SnapshotStore

_buckets = itertools.count()


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The query that makes a URI one of the server's."""
    moto = pytest.importorskip("moto.server")

    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = moto.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"endpoint_override={host}:{port}&scheme=http&region=us-east-1&allow_bucket_creation=true"
    server.stop()


@pytest.fixture
def s3_uri(s3: str) -> str:
    import pyarrow.fs

    uri = f"s3://AKIAEXAMPLE:not-to-be-shown@bucket{next(_buckets)}"
    filesystem, bucket = pyarrow.fs.FileSystem.from_uri(f"{uri}?{s3}")
    filesystem.create_dir(bucket)
    return f"{uri}/data?{s3}"


@pytest.fixture
def store(tmp_path) -> SnapshotStore:
    return SnapshotStore(tmp_path)


@pytest.fixture(params=["local", "s3"])
def anywhere(request) -> SnapshotStore:
    """A store on this machine, and one behind an object store."""
    place = "tmp_path" if request.param == "local" else "s3_uri"
    return SnapshotStore(request.getfixturevalue(place))
