"""The route table is the endpoint facts': ``endpoints.csv`` is a copy of them. Images are not generated here."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from wxcoupon_analytics.sandbox.keys import BRAND, PARTNER
from wxcoupon_analytics.sandbox.operations import Operations
from wxcoupon_analytics.sandbox.routes import ENDPOINTS, Endpoint

from .caller import Caller

with (Path(__file__).parent / "endpoints.csv").open(encoding="utf-8", newline="") as file:
    ROWS = [row for row in csv.DictReader(file) if not row["path"].startswith("image-generation")]


def test_the_table_holds_the_rows_of_the_facts_and_no_other() -> None:
    ours = {(e.name, e.method, e.path, BRAND in e.flavours, PARTNER in e.flavours) for e in ENDPOINTS}
    facts = {(r["operation"], r["method"], r["path"], r["brand"] == "yes", r["partner"] == "yes") for r in ROWS}
    assert ours == facts
    assert len(ENDPOINTS) == len(ROWS) == 34


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.operation)
def test_every_endpoint_has_its_operation_named_as_its_page(endpoint: Endpoint) -> None:
    described = getattr(Operations, endpoint.operation).__doc__
    assert described.startswith(endpoint.name)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['method']} {row['path']}")
def test_every_endpoint_is_there_and_guarded(caller: Caller, partner: Caller, row: dict[str, str]) -> None:
    path = row["path"].replace("{", "").replace("}", "")
    for who in (caller, partner):
        reply = who.raw(row["method"], who.path(path), b"", {"Accept": "application/json"})
        assert reply.status == (401 if row[who.flavour] == "yes" else 404)


@pytest.mark.parametrize("row", [r for r in ROWS if r["request_no"]], ids=lambda row: f"{row['method']} {row['path']}")
def test_every_write_of_the_facts_wants_its_number(caller: Caller, partner: Caller, row: dict[str, str]) -> None:
    path = row["path"].replace("{", "").replace("}", "")
    for who in (caller, partner):
        if row[who.flavour] == "yes":
            reply = who.call(row["method"], path, {})
            assert (reply.status, reply.json["detail"]["field"]) == (400, "/" + row["request_no"])


@pytest.mark.parametrize("row", [r for r in ROWS if r["method"] == "GET"], ids=lambda row: row["path"])
def test_a_partner_names_the_brand_where_the_facts_want_it(partner: Caller, row: dict[str, str]) -> None:
    target = partner.path(row["path"].replace("{", "").replace("}", ""))
    reply = partner.raw("GET", target, b"", partner.headers(partner.authorization("GET", target, b"")))
    if "brand_id*" in row["query"]:
        assert (reply.status, reply.json["detail"]["field"]) == (400, "brand_id")
    else:
        assert reply.json["code"] == "NOT_FOUND"  # nothing set yet
