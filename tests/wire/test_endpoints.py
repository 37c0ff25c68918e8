"""Our table of endpoints against the facts, as recorded from the documentation."""

from __future__ import annotations

import csv
import inspect
from pathlib import Path

import pytest

import wxcoupon_analytics as wx
from wxcoupon_analytics.api import Api
from wxcoupon_analytics.wire.endpoints import ENDPOINTS

FACTS = list(csv.DictReader((Path(__file__).parents[1] / "sandbox" / "endpoints.csv").read_text("utf-8").splitlines()))
OURS = {(e.method, e.path): e for e in ENDPOINTS.values()}
WANTED = [row for row in FACTS if not row["path"].startswith("image-generation-tasks")]


def test_we_have_all_of_them_and_no_other():
    assert set(OURS) == {(row["method"], row["path"]) for row in WANTED}
    assert len(OURS) == len(ENDPOINTS)


@pytest.mark.parametrize("row", WANTED, ids=lambda row: f"{row['method']} {row['path']}")
def test_each_is_as_the_facts_say(row: dict[str, str]):
    endpoint = OURS[row["method"], row["path"]]
    assert endpoint.label == row["operation"]
    assert endpoint.request_no == (row["request_no"] or None)
    assert endpoint.flavours == tuple(f for f in ("brand", "partner") if row[f])
    query = {q for q in row["query"].split() if q != "brand_id*"}
    assert set(endpoint.query) == query
    if row["method"] == "GET":
        assert endpoint.names_brand == ("brand_id*" in row["query"])


@pytest.mark.parametrize("name", ENDPOINTS)
def test_each_has_a_method_that_names_it_in_chinese(name: str):
    method = getattr(Api, name)
    assert ENDPOINTS[name].label.partition("(")[0] in (inspect.getdoc(method) or "")


@pytest.mark.parametrize("flavour", ["brand", "partner"])
def test_an_empty_signed_answer_is_an_empty_one(flavour: str):
    with wx.Sandbox(seed=1, population=False) as box, box.client(flavour=flavour) as client:
        box.faults("status", code=204, signed=True)
        assert client.api.get_notify_config() == {}
