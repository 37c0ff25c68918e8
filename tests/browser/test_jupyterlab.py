"""In the real application: the notebooks run to their end, and what they show can be read."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

pytest.importorskip("playwright")
pytest.importorskip("jupyterlab")

from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import SCREENSHOTS, Lab

pytestmark = pytest.mark.slow

STARTS_WITHIN, RUNS_WITHIN = 60_000, 180_000  # ms
CHINESE = re.compile(r"[\u4e00-\u9fff]")
OUTPUT = ".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.{}']"
BAR = ".jp-OutputArea-output .widget-hbox:has([role=progressbar], progress, .progress)"
TEXT = ".jp-RenderedHTMLCommon :is(h1, h2, p, li, th, td), .jp-RenderedText pre"


CARD = ".jp-RenderedHTML:has-text('Plan: send')"
DRAWS_CHINESE = re.compile("Noto Sans (SC|CJK)|Source Han|WenQuanYi|Droid Sans Fallback|PingFang|YaHei|SimHei")

CONTRAST = """
() => {
  const rgba = (text) => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const [r, g, b, a = 1] = rgba(getComputedStyle(node).backgroundColor);
      if (a === 1) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  return [...document.querySelectorAll('.jp-RenderedHTML *, .jp-RenderedText *')]
    .filter((node) => [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()))
    .filter((node) => {
      const [a, b] = [light(rgba(getComputedStyle(node).color).slice(0, 3)), light(behind(node))];
      return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5;
    })
    .map((node) => node.textContent);
}
"""


@pytest.fixture
def page(chromium: Browser, lab: Lab) -> Iterator[Page]:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    context = chromium.new_context(viewport={"width": 1400, "height": 1000})
    yield context.new_page()
    context.close()


def open_notebook(page: Page, lab: Lab, name: str) -> None:
    page.goto(lab.address(name))
    page.locator(".jp-Notebook").wait_for(timeout=STARTS_WITHIN)
    expect(page.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible(timeout=STARTS_WITHIN)


def choose(page: Page, *path: str) -> None:
    """Choose from the menus, as a person does."""
    for name in path:
        item = page.locator(".lm-MenuBar-itemLabel, .lm-Menu-itemLabel").filter(has_text=re.compile(f"^{name}$"))
        item.locator("visible=true").last.click()


def wait_until_run(page: Page) -> None:
    """Wait for the last cell, or for the first error."""
    expect(page.locator(".jp-InputPrompt", has_text="*")).to_have_count(0, timeout=RUNS_WITHIN)
    assert page.locator(OUTPUT.format("error")).all_inner_texts() == []
    assert page.locator(OUTPUT.format("stderr")).all_inner_texts() == []
    expect(page.locator(".jp-CodeCell .jp-InputPrompt").last).to_have_text(re.compile(r"\[\d+\]:"))


def keep_picture(page: Page, name: str) -> None:
    """Keep the whole notebook as a picture, however long it is."""
    panel = "document.querySelector('.jp-WindowedPanel-outer')"
    ends_at = f"{panel}.scrollTop + [...document.querySelectorAll('.jp-Cell')].at(-1).getBoundingClientRect().bottom"
    page.set_viewport_size({"width": 1400, "height": min(int(page.evaluate(ends_at)) + 60, 16_000)})
    page.evaluate(f"{panel}.scrollTop = 0")
    page.wait_for_timeout(500)  # until it is laid out anew
    page.screenshot(path=SCREENSHOTS / f"{name}.png")


def texts_in_other_fonts(page: Page, selector: str = TEXT) -> list[str]:
    """Find the Chinese texts of the page that the browser drew without any font that has Chinese: as boxes."""
    session = page.context.new_cdp_session(page)
    session.send("DOM.enable")
    session.send("CSS.enable")
    root = session.send("DOM.getDocument", {"depth": 0})["root"]["nodeId"]
    boxes, drawn = [], 0
    for node in session.send("DOM.querySelectorAll", {"nodeId": root, "selector": selector})["nodeIds"]:
        text = session.send("DOM.getOuterHTML", {"nodeId": node})["outerHTML"]
        if wanted := len(CHINESE.findall(text)):
            fonts = session.send("CSS.getPlatformFontsForNode", {"nodeId": node})["fonts"]
            drawn += wanted
            if sum(font["glyphCount"] for font in fonts if DRAWS_CHINESE.search(font["familyName"])) < wanted:
                boxes.append(text)
    assert drawn > 10
    return boxes


def unreadable(page: Page) -> list[str]:
    """Find the texts of outputs whose contrast against what is behind them is below WCAG's 4.5 : 1."""
    return page.evaluate(CONTRAST)


def test_notebook_01_runs_and_can_be_read(page: Page, lab: Lab):
    open_notebook(page, lab, "01_explore_campaign.ipynb")
    choose(page, "Run", "Run All Cells")
    bar = page.locator(BAR).first
    expect(bar).to_be_visible(timeout=STARTS_WITHIN)
    expect(bar).to_contain_text(re.compile(r"\d+/\d+"))
    bar.screenshot(path=SCREENSHOTS / "01_bar.png")
    wait_until_run(page)
    assert page.locator(".jp-RenderedImage img").count() >= 4
    assert texts_in_other_fonts(page) == []
    keep_picture(page, "01")


def test_notebook_02_shows_its_report_and_its_files_open(page: Page, lab: Lab):
    open_notebook(page, lab, "02_weekly_budget_report.ipynb")
    choose(page, "Run", "Run All Cells")
    wait_until_run(page)
    report = page.locator(".jp-CodeCell", has_text="print(report)").locator(OUTPUT.format("stdout"))
    expect(report).to_contain_text(re.compile(r"\d{4}-W\d{2} .*发放 [\d,]+ 张"))
    report.screenshot(path=SCREENSHOTS / "02_report.png")
    assert page.locator(".jp-RenderedImage img").count() == 2
    assert texts_in_other_fonts(page) == []
    keep_picture(page, "02")

    page.set_viewport_size({"width": 1400, "height": 1000})
    page.goto((lab.folder / "report.html").as_uri())
    expect(page.get_by_role("heading", level=1)).to_contain_text(CHINESE)
    assert texts_in_other_fonts(page, "h1, h2, h3, p, li, th, td, svg text") == []
    page.screenshot(path=SCREENSHOTS / "02_file.png")


def test_notebook_03_shows_its_plan_in_every_light(page: Page, lab: Lab):
    open_notebook(page, lab, "03_targeted_send.ipynb")
    choose(page, "Run", "Run All Cells")
    wait_until_run(page)
    card = page.locator(CARD).first
    for theme in ("Light", "Dark"):
        choose(page, "Settings", "Theme", f"JupyterLab {theme}")
        page.wait_for_timeout(1_000)
        expect(card).to_be_visible()
        expect(card).to_contain_text("result = plan.execute(confirm=")
        card.screenshot(path=SCREENSHOTS / f"03_plan_{theme.lower()}.png")
        assert unreadable(page) == []
    assert texts_in_other_fonts(page) == []
    keep_picture(page, "03")

    sent = page.locator(".jp-CodeCell", has_text="plan.execute(confirm=min(")
    expect(sent.locator(".jp-RenderedHTML")).to_contain_text("sent")
    choose(page, "Run", "Run All Cells")
    wait_until_run(page)
    expect(sent.locator(".jp-RenderedHTML")).to_contain_text("already_sent")
    expect(page.locator(CARD).first).to_contain_text("to 0 of")
