"""The notebooks run from top to bottom, show what is stored in them, and send nothing twice."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import wxcoupon_analytics as wx
from wxcoupon_analytics.cli.lab import notebooks_folder
from wxcoupon_analytics.sandbox.sharing import publish, serve_now

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

from nbclient.exceptions import CellExecutionError  # noqa: E402

from tests.regenerate_notebooks import WIDGET, execute  # noqa: E402

PATHS = sorted(notebooks_folder().glob("*.ipynb"))
NAMES = [path.stem for path in PATHS]
MOST_BYTES = 300_000


def read(name: str):
    return nbformat.read(notebooks_folder() / f"{name}.ipynb", as_version=4)


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(cell) -> list[tuple[str, list[str]]]:
    """What a cell shows, but for the numbers: the kind of each output, and the columns of each table."""
    found = []
    for output in cell.outputs:
        data = output.get("data", {})
        if WIDGET not in data:
            columns = re.findall(r"<th>([^<]*)</th>", data.get("text/html", "").partition("</thead>")[0])
            found.append((output.get("name", output.output_type), [*sorted(data), *columns]))
    return found


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("WXCOUPON_")]:
        monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def live() -> Iterator[wx.Sandbox]:
    """A brand that lives in the present, as a real one does."""
    with serve_now(seed=7) as box:
        yield box


def as_my_own(notebook, box: wx.Sandbox):
    """Do what the first cell says: put its commented lines in place of the others, with one's own ids."""
    first = code_cells(notebook)[0]
    imports, _, rest = first.source.partition("# The embedded brand")
    mine = [line.removeprefix("# ") for line in rest.partition("# Your own brand")[2].splitlines()[1:]]
    first.source = imports + "\n".join(line for line in mine if line != "#").replace("wx233544546545989", box.appid)
    assert "Sandbox" not in first.source
    assert "wx.connect(wx.Credentials.load())" in first.source
    return notebook


def test_there_are_three():
    assert [name[:3] for name in NAMES] == ["01_", "02_", "03_"]


def test_every_crontab_that_is_shown_fetches_between_midnight_and_the_report():
    readme = notebooks_folder().parent / "README.md"
    texts = [path.read_text(encoding="utf-8") for path in [*PATHS, readme] if path.is_file()]
    found = [
        re.findall(rf"\d+ (\d+) \* \* [*1] +wxcoupon {command}", "".join(texts)) for command in ("fetch", "report")
    ]
    fetches, reports = ({int(hour) for hour in hours} for hours in found)
    assert fetches
    assert max(fetches) < min(reports), "else the last day of the week is not whole in its report"


@pytest.mark.parametrize("name", NAMES)
class TestStored:
    def test_it_was_run_from_top_to_bottom_and_is_small(self, name: str):
        assert (notebooks_folder() / f"{name}.ipynb").stat().st_size < MOST_BYTES
        notebook = read(name)
        assert [cell.execution_count for cell in code_cells(notebook)] == list(range(1, len(code_cells(notebook)) + 1))
        assert "widgets" not in notebook.metadata
        assert any(cell.outputs for cell in code_cells(notebook))
        for cell in code_cells(notebook):
            for kind, mimes in kinds(cell):
                assert kind in ("stdout", "execute_result", "display_data"), cell.source
                assert WIDGET not in mimes

    def test_only_the_first_cell_knows_the_embedded_brand(self, name: str):
        first, *others = code_cells(read(name))
        assert "# Your own brand, in place of the lines above" in first.source
        for cell in others:
            assert not re.search(r"\bbox\b|Sandbox|10000000\d\d", cell.source), cell.source

    def test_nothing_of_this_machine_is_in_it(self, name: str):
        text = (notebooks_folder() / f"{name}.ipynb").read_text(encoding="utf-8")
        assert not re.search(r"/tmp/|/home/(?!me/)|127\.0\.0\.1:\d|PRIVATE KEY", text)


@pytest.mark.parametrize(
    "name", ["01_explore_campaign", pytest.param("02_weekly_budget_report", marks=pytest.mark.slow)]
)
def test_it_shows_what_is_stored_in_it(name: str, work: Path):
    stored, run = read(name), execute(read(name), work)
    for before, after in zip(code_cells(stored), code_cells(run), strict=True):
        assert kinds(after) == kinds(before), after.source


def test_running_the_send_again_sends_nothing(work: Path, live: wx.Sandbox, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WXCOUPON_CONFIG", str(publish(live, work / "brand")))
    before = live.truth("user_coupons")
    stored, first = read("03_targeted_send"), execute(read("03_targeted_send"), work)
    for then, now in zip(code_cells(stored), code_cells(first), strict=True):
        assert kinds(now) == kinds(then), now.source
    between = live.truth("user_coupons")
    sent = set(between["coupon_code"]) - set(before["coupon_code"])
    mine = between[between["send_request_no"].str.startswith("wxc-", na=False)]
    assert len(mine) > 50
    assert set(mine["coupon_code"]) <= sent
    assert not mine["openid"].duplicated().any()
    assert "CONFIRMING" not in set(mine["coupon_state"])

    execute(read("03_targeted_send"), work)
    after = live.truth("user_coupons")
    again = after[after["send_request_no"].str.startswith("wxc-", na=False)]
    assert set(again["coupon_code"]) == set(mine["coupon_code"])


@pytest.mark.slow
class TestMyOwnBrand:
    @pytest.fixture
    def mine(self, live: wx.Sandbox, work: Path, monkeypatch: pytest.MonkeyPatch) -> wx.Sandbox:
        monkeypatch.setenv("WXCOUPON_CONFIG", str(publish(live, work / "brand")))
        live.customers().head(300).to_csv(work / "customers.csv", index=False)
        return live

    def test_the_first_runs_with_one_cell_changed(self, mine: wx.Sandbox, work: Path):
        run = execute(as_my_own(read("01_explore_campaign"), mine), work)
        assert len(wx.SnapshotStore(work / "data").load("product_coupons")) == 1
        assert all(cell.execution_count for cell in code_cells(run))

    def test_the_third_stops_at_its_plan_until_a_number_is_agreed_to(self, mine: wx.Sandbox, work: Path):
        before = len(mine.truth("user_coupons"))
        with pytest.raises(CellExecutionError, match="ConfirmationError"):
            execute(as_my_own(read("03_targeted_send"), mine), work)
        assert len(mine.truth("user_coupons")) - before < 5, "only what customers did meanwhile"
        agreed = as_my_own(read("03_targeted_send"), mine)
        code_cells(agreed)[0].source = code_cells(agreed)[0].source.replace("at_most = 0", "at_most = 300")
        execute(agreed, work)
        assert len(mine.truth("user_coupons")) - before > 50
