"""Stores behind URIs."""

from __future__ import annotations

import os
import socket
import threading

import duckdb
import pandas as pd
import pyarrow.fs as pafs
import pytest

from tests.snapshots.frames import at, coupon, merge, stock, stocks
from wxcoupon_analytics.errors import SnapshotError, ValidationError
from wxcoupon_analytics.snapshots import SnapshotStore
from wxcoupon_analytics.snapshots.engines import failures_told, spilling
from wxcoupon_analytics.snapshots.files import footer


def test_a_store_behind_an_object_store_does_all_a_folder_does(anywhere):
    for month, remark in ((9, "a"), (10, "b")):
        for day in (1, 2):
            anywhere.save("stocks", stocks(stock(remark=f"{remark}{day}")), taken_at=at(day, month=month))
    assert anywhere.load("stocks", as_of="2026-09-01")["remark"].tolist() == ["a1"]
    assert anywhere.load("stocks", where="remark LIKE 'b%'")["remark"].tolist() == ["b2"]
    assert anywhere.history("stocks")["remark"].tolist() == ["a1", "a2", "b1", "b2"]
    assert len(anywhere.snapshots("stocks")) == 4
    assert anywhere.prune("stocks", before="2026-10-01", dry_run=False)["removed"].tolist() == [1]
    assert anywhere.history("stocks")["remark"].tolist() == ["a2", "b1", "b2"]
    assert anywhere.load("stocks")["remark"].tolist() == ["b2"]


def test_file_uris_and_fsspecs_memory(tmp_path):
    for root in (f"file://{tmp_path}/here", "memory://test_places/store"):
        store = SnapshotStore(root)
        store.save("stocks", stocks(stock(remark="r")), taken_at=at(1))
        merge(store, 1, coupon("A"), asked=["o1"])
        merge(store, 2, coupon("A", "USED"), asked=["o1"], complete=False)
        again = SnapshotStore(root)
        assert again.load("stocks")["remark"].tolist() == ["r"]
        assert again.load("user_coupons")["coupon_state"].tolist() == ["USED"]
        assert again.scan("user_coupons", engine="pyarrow").num_rows == 1
    assert SnapshotStore(tmp_path / "here").load("stocks")["remark"].tolist() == ["r"]


def test_no_credentials_are_shown(s3_uri):
    store = SnapshotStore(s3_uri)
    saved = store.save("stocks", stocks(stock()), taken_at=at(1))
    with pytest.raises(SnapshotError) as raised:
        SnapshotStore(s3_uri.replace("@bucket", "@nobucket")).save("stocks", stocks(stock()))
    for text in (repr(store), repr(saved), str(raised.value), repr(store._root), str(store.root)):
        assert "AKIA" not in text
        assert "not-to-be-shown" not in text
        assert "s3://" in text
    assert isinstance(saved.path, str)
    assert saved.path.startswith("s3://bucket")


@pytest.mark.parametrize("uri", ["s4://key:secret@bucket/x", "nothing://x"])
def test_a_uri_nobody_opens_is_refused(uri):
    with pytest.raises(ValidationError, match="neither Arrow") as raised:
        SnapshotStore(uri)
    assert "secret" not in str(raised.value)


def test_a_place_that_cannot_be_reached_is_our_error_whatever_its_library_calls_it():
    pytest.importorskip("fsspec")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up():
            while True:
                try:
                    server.accept()[0].close()
                except OSError:
                    return

        threading.Thread(target=hang_up, daemon=True).start()
        port = server.getsockname()[1]
        store = SnapshotStore(f"http://somebody:not-to-be-shown@127.0.0.1:{port}/store")
        for use in (store.load, store.history, lambda entity: store.save(entity, stocks(stock()))):
            with pytest.raises(SnapshotError, match=f"http://127.0.0.1:{port}/store cannot be listed") as raised:
                use("stocks")
            # Hung up on before or after it had sent all it asks.
            assert any(name in str(raised.value) for name in ("ClientOSError", "ServerDisconnectedError"))
            assert "not-to-be-shown" not in str(raised.value)
            assert raised.value.__cause__ is raised.value.__context__ is None
        server.shutdown(socket.SHUT_RDWR)


def test_only_of_what_is_behind_fsspec_any_error_is_the_places():
    fsspec = pytest.importorskip("fsspec")

    class Mistaken(pafs.FSSpecHandler):
        def get_file_info_selector(self, selector):
            raise TypeError("a mistake")

    store = SnapshotStore("memory://test_places/mistaken")
    behind_fsspec = pafs.PyFileSystem(Mistaken(fsspec.filesystem("memory")))
    store._root.filesystem = behind_fsspec
    with pytest.raises(SnapshotError, match="cannot be listed"):
        store.load("stocks")
    store._root.filesystem = pafs.SubTreeFileSystem("", behind_fsspec)
    with pytest.raises(TypeError, match="a mistake"):
        store.load("stocks")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="everything may be read by this user")
@pytest.mark.parametrize("folder", ["registry", "stocks"])
def test_a_file_that_may_not_be_read_is_not_to_be_moved_out(store, folder):
    merge(store, 1, coupon("A"), asked=["o1"])
    store.save("stocks", stocks(stock()), taken_at=at(1))
    (file,) = (path for path in store.root.rglob("*.parquet") if folder in str(path))
    file.chmod(0)
    with pytest.raises(SnapshotError, match=r"try again; .* may read there") as raised:
        store.openids() if folder == "registry" else store.load("stocks")
    assert file.name in str(raised.value)
    assert "out of the store" not in str(raised.value)
    file.chmod(0o600)
    assert len(store.openids()) == len(store.load("stocks")) == 1


def test_a_server_that_is_gone_does_not_make_a_file_damaged(s3):
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    query = s3.split("&", 1)[1]
    store = SnapshotStore(f"s3://AKIAEXAMPLE:not-to-be-shown@gone/data?endpoint_override={host}:{port}&{query}")
    store._root.filesystem.create_dir("gone")
    path = store.save("stocks", stocks(stock()), taken_at=at(1)).path.partition("/data/")[2]
    server.stop()
    with pytest.raises(SnapshotError, match=r"cannot be read: .*; try again") as raised:
        footer(store._root, path)
    assert "out of the store" not in str(raised.value)


@pytest.mark.parametrize("said", ["failed to allocate (404.0 KiB/512.0 MiB used)", "in '/data/x-404-y.parquet'"])
def test_a_number_is_not_taken_for_a_file_that_is_gone(said):
    with pytest.raises(SnapshotError, match="cannot be read together"), failures_told():
        raise duckdb.InvalidInputException(said)
    with pytest.raises(FileNotFoundError), failures_told():
        raise duckdb.HTTPException("HTTP GET error on '/data/x-404-y.parquet' (HTTP 404)")


@pytest.mark.parametrize(
    ("said", "advice"), [("ZSTD decompression failed", "move the file"), ("AWS Error NETWORK_CONNECTION", "try again")]
)
def test_what_a_stream_says_of_a_file_decides_what_to_do(said, advice):
    error = f"reading the stream of the Python object 'arrow_1' failed: IOError: {said}: 'data/x.parquet'"
    with pytest.raises(SnapshotError, match=f"; {advice}"), failures_told():
        raise duckdb.InvalidInputException(error)


def test_memory_that_is_not_enough_damages_no_file(store):
    merge(store, 1, coupon("A"), asked=["o1"])
    (segment,) = (store.root / ".store" / "registry").iterdir()
    query = f"SELECT DISTINCT openid || n FROM read_parquet('{segment}'), range(1000000) AS r(n) ORDER BY ALL"

    def read_within_a_megabyte():
        with spilling() as connection:
            connection.execute("SET temp_directory = ''; SET memory_limit = '1MB'")
            connection.sql(query).fetchall()

    with pytest.raises(SnapshotError, match=r"(?s)Out of Memory.*try again") as raised:
        read_within_a_megabyte()
    assert "out of the store" not in str(raised.value)


@pytest.mark.parametrize("name", [".DS_Store", "desktop.ini", ".x.parquet.a8Kd2L", "x (1).parquet"])
@pytest.mark.parametrize("folder", ["registry", "pseudonyms", "current/user_coupons", "checkpoints/stocks", "staging"])
def test_what_others_leave_in_our_folders_is_not_ours(store, folder, name):
    merge(store, 1, coupon("A"), asked=["o1"])
    (store.root / ".store" / folder).mkdir(parents=True, exist_ok=True)
    (store.root / ".store" / folder / name).write_bytes(b"junk")
    again = SnapshotStore(store.root)
    merge(again, 2, coupon("A", "USED"), asked=["o1", "o2"])
    again.save("stocks", stocks(stock()), taken_at=at(2))
    assert again.load("user_coupons")["coupon_state"].tolist() == ["USED"]
    assert again.load("user_coupons", as_of=at(1))["coupon_state"].tolist() == ["EFFECTIVE"]
    assert again.openids()["openid"].tolist() == ["o1", "o2"]


def test_a_damaged_part_of_the_registry_is_named(store):
    merge(store, 1, coupon("A"), asked=["o1"])
    (segment,) = (store.root / ".store" / "registry").iterdir()
    segment.write_bytes(segment.read_bytes()[:100])
    with pytest.raises(SnapshotError, match=f"{segment.name}'; move the file it names out of the store") as raised:
        store.openids()
    assert "SELECT" not in str(raised.value)
    assert "name the users who hold no coupon again" in str(raised.value)
    segment.rename(store.root / "damaged")
    assert store.openids()["openid"].tolist() == ["o1"]


def test_a_store_in_the_home_folder_is_there(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    saved = SnapshotStore("~/data").save("stocks", stocks(stock()), taken_at=at(1))
    assert saved.path.is_relative_to(tmp_path / "data")
    assert len(SnapshotStore(tmp_path / "data").load("stocks")) == 1


def test_scratch_is_a_folder_of_this_machine(store, s3_uri, monkeypatch, tmp_path):
    assert store.scratch("fetch-1") == store.root / ".store" / "fetches" / "fetch-1"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    remote = SnapshotStore(s3_uri).scratch("fetch-1")
    assert remote.name == "fetch-1"
    assert remote != SnapshotStore("memory://elsewhere").scratch("fetch-1")
    assert "AKIA" not in str(remote)
    for wrong in ("", "../x", "a/b", ".hidden"):
        with pytest.raises(ValidationError, match="name="):
            store.scratch(wrong)


def test_the_folder_of_an_object_store_reads_without_us(s3_uri):
    import pyarrow.fs

    store = SnapshotStore(s3_uri)
    for day in (1, 2):
        store.save("stocks", stocks(stock(remark=f"{day}")), taken_at=at(day))
    filesystem, base = pyarrow.fs.FileSystem.from_uri(s3_uri)
    outside = pd.read_parquet(f"{base}/stocks", filesystem=filesystem)
    assert sorted(outside["remark"]) == ["1", "2"]
    assert duckdb.from_arrow(store.scan("stocks", engine="pyarrow")).fetchall()
