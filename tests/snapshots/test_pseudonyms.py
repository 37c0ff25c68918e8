"""Keyed hashes instead of openids: everywhere, stable, and only with the one key."""

from __future__ import annotations

import json

import pytest

from tests.snapshots.frames import at, coupon, coupons, merge, states
from wxcoupon_analytics.entities.schemas import frame_from_rows
from wxcoupon_analytics.errors import SnapshotError, ValidationError
from wxcoupon_analytics.snapshots import SnapshotStore

KEY = b"a key that is long enough to hide behind"
WHO = "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"


@pytest.fixture
def hidden(tmp_path):
    return SnapshotStore(tmp_path, pseudonymize=KEY)


def test_no_file_of_the_store_has_an_openid(hidden):
    extra = json.dumps({"user": {"openid": WHO, "sub_openid": "oAnother"}, "note": f"for {WHO}"})
    rounds = [{"use_request_no": f"use-{WHO}", "detail_state": "USED"}]
    told = {"attach": f"from {WHO}", "extra": extra, "sequential_usage_detail_detail_item_list": rounds}
    merge(hidden, 1, coupon("A", who=WHO, **told), coupon("B", who=WHO), asked=[WHO, "oNobody"])
    merge(hidden, 2, coupon("A", "USED", who=WHO, **told), asked=[WHO, "oNobody"])
    event = {"event_id": "e", "openid": WHO, "unionid": "uSomeone", "phone_number": "13800000000", "appid": "wx1"}
    hidden.save("user_coupon_events", frame_from_rows("user_coupon_events", [event]))
    hidden.add_openids(["oRegistered"], appid="wx1")
    content = b"".join(path.read_bytes() for path in hidden.root.rglob("*") if path.is_file())
    loaded = [hidden.load(entity).to_csv() for entity in ("user_coupons", "user_coupon_events")]
    texts = content + "".join([*loaded, hidden.history("user_coupons").to_csv(), hidden.openids().to_csv()]).encode()
    for secret in (WHO, "oNobody", "oAnother", "uSomeone", "13800000000", "oRegistered", KEY.decode()):
        assert secret.encode() not in texts
    kept = json.loads(hidden.load("user_coupons")["extra"][0])
    assert kept["user"]["openid"] == hidden.pseudonym(WHO)
    assert kept["note"] == f"for {hidden.pseudonym(WHO)}"


def test_a_pseudonym_is_the_same_everywhere_and_joins(hidden):
    merge(hidden, 1, coupon("A", who=WHO), asked=[WHO])
    assert merge(hidden, 2, coupon("A", who=WHO), asked=[WHO]).unchanged == 1
    mine = hidden.pseudonym(WHO)
    assert mine == hidden.pseudonym(mine) == SnapshotStore(hidden.root, pseudonymize=KEY.decode()).pseudonym(WHO)
    assert hidden.load("user_coupons", where=f"openid = '{mine}'")["coupon_code"].tolist() == ["A"]
    assert hidden.openids()["openid"].tolist() == [mine]
    hidden.save("user_coupons", hidden.load("user_coupons"))  # what came out may go back in
    assert len(hidden.history("user_coupons")) == 1


def test_what_vanished_is_told_by_the_openid_that_was_asked(hidden):
    merge(hidden, 1, coupon("A", who=WHO), asked=[WHO])
    for _ in range(2):
        assert merge(hidden, 2, asked=[WHO]).vanished["openid"].to_pylist() == [WHO]


def test_to_read_takes_no_key_and_to_write_takes_the_same(hidden):
    merge(hidden, 1, coupon("A", who=WHO), asked=[WHO])
    frame = coupons(coupon("B", when=at(2)))
    for store, why in (
        (SnapshotStore(hidden.root), "open it with the key"),
        (SnapshotStore(hidden.root, pseudonymize=b"another key, long enough too"), "made with another key"),
    ):
        assert states(store) == {"A": "EFFECTIVE"}
        for write in (
            lambda s=store: s.save("user_coupons", frame),
            lambda s=store: merge(s, 2, coupon("B"), asked=["o1"]),
            lambda s=store: s.add_openids(["o1"], appid="wx1"),
        ):
            with pytest.raises(SnapshotError, match=why):
                write()
    assert states(hidden) == {"A": "EFFECTIVE"}


def test_a_store_with_openids_takes_no_pseudonyms(store):
    store.add_openids([WHO], appid="wx1")
    with pytest.raises(SnapshotError, match="holds openids as they are"):
        SnapshotStore(store.root, pseudonymize=KEY).add_openids(["o2"], appid="wx1")


@pytest.mark.parametrize("short", [b"", "", b"fifteen bytes..", "密钥"])
def test_a_key_that_hides_nobody_is_refused(tmp_path, short):
    with pytest.raises(ValidationError, match="give 16 or more"):
        SnapshotStore(tmp_path, pseudonymize=short)


def test_the_key_is_never_shown(hidden):
    assert KEY.decode() not in repr(hidden) + repr(vars(hidden))
    assert hidden.pseudonymous
    assert not SnapshotStore(hidden.root).pseudonymous
