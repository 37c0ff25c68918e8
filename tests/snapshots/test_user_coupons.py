"""User coupons: what is new or changed, who was asked, and the current state that follows, whoever killed whom."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.snapshots.frames import answers, at, coupon, coupons, merge, seen, states
from wxcoupon_analytics.errors import ValidationError
from wxcoupon_analytics.snapshots import SnapshotStore


def rows_of(store):
    return store.history("user_coupons")[["coupon_code", "coupon_state"]].astype(object).to_numpy().tolist()


class TestMerge:
    def test_stores_what_is_new_or_changed_and_nothing_else(self, anywhere):
        first = merge(anywhere, 1, coupon("A"), coupon("B"), coupon("C", who="o2"), asked=["o1", "o2", "o3"])
        assert (first.rows, first.new, first.changed, first.unchanged, len(first.vanished)) == (3, 3, 0, 0, 0)
        second = merge(anywhere, 2, coupon("A", "USED"), coupon("B"), coupon("C", who="o2"), asked=["o1", "o2", "o3"])
        assert (second.rows, second.new, second.changed, second.unchanged) == (3, 0, 1, 2)
        third = merge(anywhere, 3, coupon("A", "USED"), coupon("B"), coupon("C", who="o2"), asked=["o1", "o2"])
        assert (third.path, third.unchanged) == (None, 3)
        assert rows_of(anywhere) == [["A", "EFFECTIVE"], ["B", "EFFECTIVE"], ["C", "EFFECTIVE"], ["A", "USED"]]
        assert anywhere.snapshots("user_coupons")["rows"].tolist() == [3, 1, 0]

    def test_an_unchanged_coupon_is_as_fresh_as_the_last_answer_that_covered_it(self, store):
        merge(store, 1, coupon("A"), coupon("B", who="o2"), asked=["o1", "o2"])
        merge(store, 2, coupon("A"), asked=["o1"])
        merge(store, 3, coupon("A"), coupon("B", who="o2"), asked=["o1", "o2"])
        assert seen(store) == {"A": 3, "B": 3}
        assert seen(store, as_of="2026-11-02") == {"A": 2, "B": 1}
        assert seen(store, as_of=at(1)) == {"A": 1, "B": 1}
        assert seen(store, as_of=at(1, 9)) == {}

    def test_every_user_is_as_fresh_as_his_own_answer(self, store):
        merge(store, 1, coupon("A"), coupon("B", who="o2"), asked=["o1", "o2"])
        merge(store, 2, coupon("A", when=at(2, 8)), coupon("B", who="o2", when=at(2, 9)), asked=["o1", "o2"])
        loaded = store.load("user_coupons")
        assert loaded["fetched_at"].tolist() == [at(2, 8), at(2, 9)]

    def test_a_coupon_that_is_missing_from_an_answer_has_no_known_state(self, store):
        merge(store, 1, coupon("A"), coupon("B"), asked=["o1"])
        merged = merge(store, 2, coupon("A"), asked=["o1"])
        assert merged.vanished.to_pylist() == [
            {"brand_id": "1", "stock_id": "70", "product_coupon_id": "7", "coupon_code": "B", "openid": "o1"}
        ]
        assert states(store) == {"A": "EFFECTIVE", "B": None}
        assert seen(store) == {"A": 2, "B": 2}
        assert states(store, as_of="2026-11-01") == {"A": "EFFECTIVE", "B": "EFFECTIVE"}
        assert len(merge(store, 3, coupon("A"), asked=["o1"]).vanished) == 0  # once
        assert merge(store, 4, coupon("A"), coupon("B"), asked=["o1"]).changed == 1
        assert states(store) == {"A": "EFFECTIVE", "B": "EFFECTIVE"}

    def test_a_coupon_that_left_the_state_asked_for_is_not_said_to_be_in_it(self, store):
        merge(store, 1, coupon("A"), coupon("B"), coupon("C", "USED"), asked=["o1"])
        merged = merge(store, 2, coupon("A"), asked=["o1"], coupon_state="EFFECTIVE")
        assert merged.vanished["coupon_code"].to_pylist() == ["B"]
        assert states(store) == {"A": "EFFECTIVE", "B": None, "C": "USED"}
        assert seen(store) == {"A": 2, "B": 2, "C": 1}  # nobody asked about C

    @pytest.mark.parametrize(
        ("filters", "gone"),
        [
            ({}, ["B", "C"]),
            ({"stock_id": "70"}, ["B"]),
            ({"product_coupon_id": "8"}, ["C"]),
            ({"stock_id": "70", "coupon_state": "USED"}, []),
        ],
        ids=str,
    )
    def test_only_what_the_question_covers_can_vanish(self, store, filters, gone):
        other = {"stock_id": "80", "product_coupon_id": "8"}
        merge(store, 1, coupon("A"), coupon("B"), coupon("C", **other), coupon("D", who="o2"), asked=["o1", "o2"])
        answer = [] if filters == {"product_coupon_id": "8"} else [coupon("A")]
        assert merge(store, 2, *answer, asked=["o1"], **filters).vanished["coupon_code"].to_pylist() == gone

    def test_another_brands_coupons_of_the_same_user_do_not_vanish(self, store):
        merge(store, 1, coupon("A"), asked=["o1"])
        other = answers(coupon("Z", when=at(2), brand_id="2"))
        asked = {"appid": "wx1", "asked": ["o1"], "filters": {}, "started_at": at(2), "complete": True}
        assert len(store.merge(other, fetch_id="other", **asked).vanished) == 0
        # And where the answer is empty and the user has coupons of both, nobody can tell whose are missing.
        assert len(store.merge(answers(), fetch_id="empty", **asked).vanished) == 0
        assert store.merge(answers(), fetch_id="said", brand_id="2", **asked).vanished["coupon_code"].to_pylist() == [
            "Z"
        ]

    def test_the_same_part_again_does_no_harm_and_says_the_same(self, store):
        merge(store, 1, coupon("A"), coupon("B"), asked=["o1"])
        once = merge(store, 2, coupon("A", "USED"), asked=["o1"], complete=False)
        again = merge(store, 2, coupon("A", "USED"), asked=["o1"], complete=False)
        assert (once.path, once.changed, once.vanished) == (again.path, again.changed, again.vanished)
        assert once.path is not None
        assert len(store.history("user_coupons")) == 4
        assert store.fetches()["parts"].tolist() == [1, 1]

    def test_the_file_it_names_is_there_when_the_parts_were_put_together(self, store):
        for n in range(3):
            merged = merge(store, 1, coupon(f"{n}", who=f"o{n}"), asked=[f"o{n}"], complete=n == 2)
        assert Path(merged.path).exists()
        assert len(list((store.root / "user_coupons").rglob("*.parquet"))) == 1

    def test_the_last_part_of_a_fetch_may_be_empty(self, store):
        merge(store, 1, coupon("A"), asked=["o1"], complete=False)
        last = merge(store, 1, asked=[], complete=True)
        assert (last.path, last.rows) == (None, 0)
        assert store.fetches()["complete"].tolist() == [True]

    def test_a_part_in_which_nothing_changed_is_known_again_too(self, store):
        merge(store, 1, coupon("A"), asked=["o1"])
        for _ in range(2):
            assert merge(store, 2, coupon("A"), asked=["o1"]).unchanged == 1
        assert store.fetches()["parts"].tolist() == [1, 1]

    def test_what_is_not_folded_yet_counts_all_the_same(self, anywhere):
        merge(anywhere, 1, coupon("A"), coupon("B", who="o2"), asked=["o1", "o2"])
        generation = anywhere._root.files(".store/current")
        merge(anywhere, 2, coupon("A", "USED"), asked=["o1"], fetch_id="long", complete=False)
        assert anywhere._root.files(".store/current") == generation
        assert states(anywhere) == {"A": "USED", "B": "EFFECTIVE"}
        assert states(anywhere, where="coupon_state = 'EFFECTIVE'") == {"B": "EFFECTIVE"}
        assert seen(anywhere) == {"A": 2, "B": 1}
        merge(anywhere, 2, coupon("B", who="o2"), asked=["o2"], fetch_id="long", complete=True)
        assert anywhere._root.files(".store/current") != generation
        assert seen(anywhere) == {"A": 2, "B": 2}

    def test_an_older_answer_that_comes_late_does_not_undo_a_newer_one(self, store):
        merge(store, 1, coupon("A"), asked=["o1"])
        merge(store, 3, coupon("A", "USED"), asked=["o1"])
        merge(store, 2, coupon("A", "EFFECTIVE"), asked=["o1"])
        assert states(store) == {"A": "USED"}
        assert seen(store) == {"A": 3}
        assert states(store, as_of="2026-11-02") == {"A": "EFFECTIVE"}

    def test_an_answer_does_not_undo_what_another_fetch_saw_while_it_waited_for_its_part(self, store):
        merge(store, 1, coupon("A"), coupon("B", who="o2"), asked=["o1", "o2"])
        merge(store, 2, coupon("A", "USED", when=at(2, 12)), coupon("N", who="o3", when=at(2, 12)), asked=["o1", "o3"])
        held = [coupon("A", when=at(2, 11)), coupon("B", "USED", who="o2", when=at(2, 14))]
        asked = {"o1": at(2, 11), "o2": at(2, 14), "o3": at(2, 11)}
        merged = merge(store, 2, *held, asked=asked, fetch_id="slow")
        assert (merged.changed, merged.unchanged, len(merged.vanished)) == (1, 1, 0)
        assert states(store) == {"A": "USED", "B": "USED", "N": "EFFECTIVE"}
        assert rows_of(store)[-1] == ["B", "USED"]

    def test_when_a_user_without_a_coupon_was_answered_is_told(self, store):
        merge(store, 1, coupon("A"), asked=["o1"])
        for hour, gone in ((9, []), (11, ["A"])):  # seen at 10 o'clock: an answer from before says nothing of it
            asked = {"o1": at(1, hour)}
            merged = merge(store, 1, asked=asked, fetch_id=f"at {hour}")
            assert merged.vanished["coupon_code"].to_pylist() == gone
        assert store.load("user_coupons")["fetched_at"].tolist() == [at(1, 11)]
        assert store.fetches()["fetched_to"].tolist() == [at(1, 9), at(1, 10), at(1, 11)]

    def test_of_two_fetches_of_one_instant_the_one_stored_later_wins_also_when_the_clock_is_set_back(
        self, store, monkeypatch
    ):
        merge(store, 1, coupon("A"), asked=["o1"], fetch_id="first")
        merge(store, 1, coupon("A", "USED"), asked=["o1"], fetch_id="second")  # and the two are put together
        monkeypatch.setattr("time.time_ns", lambda: 10**18)
        merge(store, 1, coupon("A", "EFFECTIVE"), asked=["o1"], fetch_id="third")
        assert states(store) == {"A": "EFFECTIVE"}
        assert [state for _, state in rows_of(store)] == ["EFFECTIVE", "USED", "EFFECTIVE"]

    def test_what_came_late_was_not_seen_by_a_later_answer_that_was_stored_before_it(self, store, monkeypatch):
        merge(store, 3, asked=["o1"], coupon_state="EFFECTIVE")
        merge(store, 1, coupon("A"), asked=["o1"])
        assert seen(store) == seen(store, as_of="2026-11-05") == {"A": 1}
        monkeypatch.setattr(store, "_tidy", lambda *_: None)
        merge(store, 4, coupon("A"), asked=["o1"], coupon_state="EFFECTIVE")
        assert seen(store) == seen(store, as_of="2026-11-05") == {"A": 4}

    def test_a_coupon_without_its_ids_is_kept_once(self, store):
        for day in (1, 2):
            merge(store, day, {**coupon("A"), "coupon_code": None}, asked=["o1"])
        assert len(store.load("user_coupons")) == 1

    @pytest.mark.parametrize("wrong", [{"state": "USED"}, {"brand_id": "1"}], ids=str)
    def test_refuses_what_no_question_can_have(self, store, wrong):
        with pytest.raises(ValidationError, match="a question can have coupon_state, product_coupon_id, stock_id"):
            store.merge(answers(), appid="a", asked=[], filters=wrong, fetch_id="f", started_at=at(1), complete=True)

    def test_the_fetches_are_listed(self, store):
        merge(store, 1, coupon("A"), asked=["o1"], complete=False)
        merge(store, 1, coupon("B", who="o2"), asked=["o2", "o3"], complete=True)
        merge(store, 2, asked=["o1"], complete=False, coupon_state="USED")
        store.save("user_coupons", coupons(coupon("A", when=at(3))))
        listed = store.fetches()
        assert listed["asked"].tolist() == [3, 1, 0]
        assert listed["complete"].tolist() == [True, False, True]
        assert listed["filters"].fillna("saved").tolist() == ["{}", '{"coupon_state": "USED"}', "saved"]
        assert listed["started_at"].tolist() == [at(1, 9), at(2, 9), at(3)]


class TestSave:
    """A frame saved as it is: a merge without a question."""

    def test_stores_what_is_new_or_changed(self, store):
        store.save("user_coupons", coupons(coupon("A", when=at(1)), coupon("B", when=at(1))))
        saved = store.save("user_coupons", coupons(coupon("A", "USED", when=at(2)), coupon("B", when=at(2))))
        assert (saved.rows, saved.taken_at, saved.complete) == (2, at(2), True)
        assert len(store.history("user_coupons")) == 3
        assert states(store) == {"A": "USED", "B": "EFFECTIVE"}
        assert seen(store) == {"A": 2, "B": 2}
        assert seen(store, as_of="2026-11-01") == {"A": 1, "B": 1}

    def test_nothing_vanishes(self, store):
        store.save("user_coupons", coupons(coupon("A", when=at(1)), coupon("B", when=at(1))))
        store.save("user_coupons", coupons(coupon("A", when=at(2))))
        assert states(store) == {"A": "EFFECTIVE", "B": "EFFECTIVE"}
        assert seen(store) == {"A": 2, "B": 1}
        assert seen(store, as_of="2026-11-02") == {"A": 2, "B": 1}

    def test_a_coupon_nobody_is_said_to_hold_is_seen_again_too(self, store):
        for day in (1, 2):
            store.save("user_coupons", coupons(coupon("A", who=None, when=at(day))))
        assert seen(store) == {"A": 2}

    def test_a_frame_saved_out_of_order_is_as_of_its_own_time(self, store):
        store.save("user_coupons", coupons(coupon("A", when=at(3))))
        store.save("user_coupons", coupons(coupon("A", when=at(2))))
        assert states(store, as_of="2026-11-02") == {"A": "EFFECTIVE"}
        assert seen(store) == {"A": 3}

    def test_users_are_registered(self, store):
        store.save("user_coupons", coupons(coupon("A", when=at(1)), coupon("B", who="o2", when=at(1))))
        assert store.openids()["openid"].tolist() == ["o1", "o2"]


class TestRegistry:
    def test_knows_everyone_once(self, store):
        assert store.add_openids(["o2", "o1", "o2"], appid="wx1") == 2
        assert store.add_openids(["o3", "o1"], appid="wx1") == 1
        assert store.add_openids(["o1"], appid="wx2") == 1
        merge(store, 1, coupon("A"), asked=["o1", "o9"])
        known = store.openids(appid="wx1")
        assert sorted(known["openid"]) == ["o1", "o2", "o3", "o9"]
        assert known.dtypes.astype(str).tolist() == ["string", "string", "datetime64[us, Asia/Shanghai]"]
        assert store.openids(appid="wx2")["openid"].tolist() == ["o1"]

    def test_many_segments_become_one_and_manifests_still_find_their_users(self, store):
        merge(store, 1, coupon("A"), asked=["o1"])
        for n in range(17):
            store.add_openids([f"u{n}"], appid="wx1")
        assert len(list((store.root / ".store" / "registry").iterdir())) < 4
        assert len(store.openids()) == 18
        merge(store, 2, coupon("A"), asked=["o1"])
        assert seen(store) == {"A": 2}
        assert seen(store, as_of="2026-11-02") == {"A": 2}

    @pytest.mark.parametrize("wrong", ["o1", ["o1", ""], ["o1", None], [5]], ids=str)
    def test_refuses_what_is_no_openid(self, store, wrong):
        with pytest.raises(ValidationError, match="openids"):
            store.add_openids(wrong, appid="wx1")


@st.composite
def fetched(draw):
    """A few fetches of a few users: of each its answers, whom it asked, what for."""
    days = []
    for _ in range(draw(st.integers(1, 5))):
        asked = draw(st.lists(st.sampled_from(["o1", "o2", "o3"]), unique=True, min_size=1))
        held = [(who, code) for who in asked for code in "AB" if draw(st.booleans())]
        state = draw(st.sampled_from([None, "EFFECTIVE", "USED"]))
        rows = [(who, code, state or draw(st.sampled_from(["EFFECTIVE", "USED"]))) for who, code in held]
        days.append((asked, rows, state, draw(st.booleans())))
    return days


@settings(deadline=None, max_examples=3)
@given(fetched())
def test_the_current_state_is_what_a_dictionary_would_say(tmp_path_factory, days):
    holds_what_a_dictionary_would(tmp_path_factory, days)


@pytest.mark.slow
@settings(deadline=None, max_examples=300)
@given(fetched())
def test_the_current_state_is_what_a_dictionary_would_say_of_many_fetches(tmp_path_factory, days):
    holds_what_a_dictionary_would(tmp_path_factory, days)


def holds_what_a_dictionary_would(tmp_path_factory, days):
    store = SnapshotStore(tmp_path_factory.mktemp("store"))
    known: dict[tuple[str, str], tuple[str | None, int]] = {}
    after = []
    for day, (asked, rows, state, complete) in enumerate(days, start=1):
        answer = {(who, f"{who}{code}"): here for who, code, here in rows}
        filters = {} if state is None else {"coupon_state": state}
        found = [coupon(code, here, who=who) for (who, code), here in answer.items()]
        merge(store, day, *found, asked=asked, complete=complete, **filters)
        for (who, code), (had, _) in list(known.items()):
            if who in asked and (who, code) not in answer and state in (None, had):
                known[who, code] = (None, day)
        known.update({key: (here, day) for key, here in answer.items()})
        after.append(dict(known))
    for day, expected in enumerate(after, start=1):
        for options in [{"as_of": at(day, 23)}] + ([{}] if day == len(after) else []):
            loaded = store.load("user_coupons", **options)
            rows = loaded[["openid", "coupon_code", "coupon_state"]].astype(object).itertuples(index=False)
            days_seen = loaded["fetched_at"].dt.day
            said = {(w, c): (None if pd.isna(s) else s, d) for (w, c, s), d in zip(rows, days_seen, strict=True)}
            assert said == expected


def test_the_files_are_what_outside_readers_expect(store):
    merge(store, 1, coupon("A"), coupon("B"), asked=["o1"])
    merge(store, 2, coupon("A", "USED"), coupon("B"), asked=["o1"])
    outside = pd.read_parquet(store.root / "user_coupons").sort_values("taken_at")
    assert outside["coupon_state"].tolist() == ["EFFECTIVE", "EFFECTIVE", "USED"]
    for path in (store.root / "user_coupons").rglob("*.parquet"):
        assert pq.read_schema(path).names == ["taken_at", *store.load("user_coupons").columns]
