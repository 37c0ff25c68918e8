"""Whom a fetch asks: gone through as often as needed, known again in any order, on disk only where nobody can read it."""

from __future__ import annotations

import random
from pathlib import Path

import pandas as pd
import pytest

from wxcoupon_analytics.errors import ValidationError
from wxcoupon_analytics.fetch.asked import Asked, distinct

ODD = ["oA", "o\nB", "中文", 'o"C', "o\\D", "😀", "a/b"]


@pytest.mark.parametrize("kind", [list, tuple, set, pd.Series, pd.Index, iter, lambda values: (v for v in values)])
def test_all_are_given_as_often_as_one_goes_through(kind):
    with Asked(kind(ODD)) as asked:
        assert asked.count == len(ODD)
        for _ in range(2):
            assert sorted(asked) == sorted(ODD)


def test_a_generator_keeps_its_order_and_its_duplicates_over_many_blocks():
    openids = [f"oh-{number % 9000:024d}" for number in range(10_000)]
    with Asked(iter(openids)) as asked:
        assert list(asked) == openids
        assert asked.digest == Asked(openids).digest


def test_the_digest_knows_the_same_users_in_any_order_and_no_others():
    openids = [f"o{number}" for number in range(500)]
    shuffled = random.Random(1).sample(openids, 500)
    assert Asked(openids).digest == Asked(shuffled).digest
    others = [openids[1:], [*openids, "p"], [*openids[1:], "p"], [*openids, "o1", "o1"], ["o12"], ["o1", "2"], []]
    assert len({Asked(each).digest for each in [openids, *others]}) == len(others) + 1


def test_only_some_are_asked_but_all_say_which_fetch_it_is():
    with Asked(iter("abc"), stored_as=str.upper, only={"A", "C"}) as asked:
        assert (asked.count, list(asked), list(asked)) == (2, ["a", "c"], ["a", "c"])
        assert asked.digest == Asked(["A", "B", "C"]).digest
        assert asked.known_as({"B", "C", "D"}) == {"B": "b", "C": "c"}


def test_what_a_generator_gave_is_on_no_disk_in_the_clear():
    secret = "oh-394z-6CGkNoJrsDLTTUKiAnp4"
    files = Path("/proc/self/fd")
    if not files.exists():
        pytest.skip("no /proc here to look into open files")
    before = {fd.readlink() for fd in files.iterdir() if fd.exists()}
    with Asked(secret for _ in range(20_000)) as asked:
        opened = [fd for fd in files.iterdir() if fd.exists() and fd.readlink() not in before]
        contents = [fd.read_bytes() for fd in opened if "(deleted)" in str(fd.readlink())]
        assert max(map(len, contents)) > 500_000
        assert not any(secret.encode() in content for content in contents)
        assert list(asked) == [secret] * 20_000


@pytest.mark.parametrize(
    ("openids", "says"),
    [
        ("oA", r"write \[openid\]"),
        (["oA", ""], "an empty value"),
        (["oA", "  "], "an empty value"),
        (["oA", None], "an empty value"),
        (["oA", float("nan")], "an empty value"),
        (["oA", 7], "a value of type int"),
        (["oA", ["oB", "oC"]], "a value of type list"),
        (["oA", "\ud800"], "half a surrogate pair"),
        ((v for v in ["oA", b"oB"]), "a value of type bytes"),
    ],
)
def test_what_would_be_asked_wrongly_is_refused_at_once(openids, says):
    with pytest.raises(ValidationError, match=says) as caught:
        Asked(openids)
    assert not any(openid in str(caught.value) for openid in ("oA", "oB"))


def test_distinct_keeps_the_first_of_each():
    assert distinct("ids", iter(["b", "a", "b"])) == ["b", "a"]
