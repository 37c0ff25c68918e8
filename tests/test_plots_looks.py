"""What can be seen: every letter has a glyph, colours stay apart for everybody, and a plot is whole as SVG."""

from __future__ import annotations

import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from datetime import timedelta
from itertools import combinations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text

import wxcoupon_analytics as wx
from tests.test_plots import no_chinese_font  # noqa: F401 - a fixture
from wxcoupon_analytics import drawing
from wxcoupon_analytics.plots import svg_text
from wxcoupon_analytics.words import WORDS

LANGS = ("zh", "en")


@pytest.fixture(autouse=True)
def _figures_closed() -> Iterator[None]:
    mpl.use("Agg")
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def history() -> pd.DataFrame:
    """The embedded brand's stocks on five days, each sending a tenth of its daily limit."""
    frame = wx.load_sample("stocks")
    per_day = frame["stock_send_rule_max_count_per_day"].fillna(50) // 10
    days = []
    for back in range(4, -1, -1):
        then = frame["fetched_at"] - timedelta(days=back)
        counts = {
            "sent_count_info_total_count": frame["sent_count_info_total_count"] - back * per_day,
            "sent_count_info_today_count": per_day,
        }
        days.append(frame.assign(fetched_at=then, fetched_day=then.dt.date.astype("date32[day][pyarrow]"), **counts))
    return pd.concat(days, ignore_index=True)


@pytest.fixture(scope="module")
def plots(history: pd.DataFrame) -> Mapping[str, list[Axes]]:
    return {lang: list(every_plot(history, lang)) for lang in LANGS}


def every_plot(history: pd.DataFrame, lang: str) -> Iterator[Axes]:
    stocks, coupons, users = map(wx.load_sample, ("stocks", "product_coupons", "user_coupons"))
    now = stocks["fetched_at"].max()
    yield wx.plot_budget_use(stocks, coupons, lang=lang)
    yield wx.plot_remaining_daily_quota(stocks, coupons, now=now + timedelta(days=1), lang=lang)
    yield wx.plot_state_breakdown(users, lang=lang)
    yield wx.plot_state_breakdown(users, by="stock_id", stocks=stocks, product_coupons=coupons, lang=lang)
    yield wx.plot_state_history(users, lang=lang)
    yield wx.plot_funnel(users, lang=lang)
    yield wx.plot_daily_sends(history, coupons, now=now, lang=lang)
    yield wx.plot_quota_days(history, coupons, lang=lang)
    yield wx.plot_redemption_curve(users, lang=lang)
    yield wx.plot_redemption_curve(users, by="stock_id", stocks=stocks, product_coupons=coupons, lang=lang)


def assert_every_letter_has_a_glyph(figure: Figure) -> None:
    """matplotlib warns of a glyph that is missing; what our plots replace is a box."""
    with warnings.catch_warnings(action="error"):
        figure.draw_without_rendering()
    words = [text.get_text() for text in figure.findobj(Text)]
    assert len(words) > 5
    assert not [text for text in words if "□" in text]


def figure_of(ax: Axes) -> Figure:
    figure = ax.get_figure(root=True)
    assert figure is not None
    return figure


@pytest.mark.parametrize("lang", LANGS)
def test_no_glyph_is_missing_in_any_plot_of_the_embedded_brand(plots: Mapping[str, list[Axes]], lang: str) -> None:
    seen = ""
    for ax in plots[lang]:
        assert_every_letter_has_a_glyph(figure_of(ax))
        seen += "".join(text.get_text() for text in figure_of(ax).findobj(Text))
    assert "拿铁" in seen  # the names are Chinese in both languages


@pytest.mark.parametrize("lang", LANGS)
def test_no_glyph_is_missing_in_any_word_that_a_plot_may_say(lang: str) -> None:
    figure = Figure(figsize=(4, 30))
    for place, text in enumerate(WORDS[lang].values()):
        figure.text(0, place / len(WORDS[lang]), drawing.drawable(text), fontproperties=drawing.letters(9))
    assert_every_letter_has_a_glyph(figure)


def test_the_check_sees_a_glyph_that_a_font_lacks() -> None:
    figure = Figure()
    for _ in range(6):
        figure.text(0, 0, "预算", fontproperties=FontProperties(family=["DejaVu Sans"]))
    with pytest.raises(UserWarning, match="Glyph 39044 .* missing from font"):
        assert_every_letter_has_a_glyph(figure)


@pytest.mark.usefixtures("no_chinese_font")
def test_the_check_sees_the_boxes_that_stand_for_letters_of_no_font() -> None:
    with pytest.warns(UserWarning, match="no font with Chinese letters"):
        ax = wx.plot_budget_use(wx.load_sample("stocks"), wx.load_sample("product_coupons"))
    with pytest.raises(AssertionError):
        assert_every_letter_has_a_glyph(figure_of(ax))


@pytest.mark.parametrize("lang", LANGS)
def test_nothing_is_written_beyond_the_figure(history: pd.DataFrame, lang: str) -> None:
    gap = history[history["fetched_day"] != history["fetched_day"].max() - timedelta(days=1)]
    coupons = wx.load_sample("product_coupons")
    coupons["display_info_name"] = coupons["display_info_name"] + "冬日暖心热饮单品限时立减" * 3
    repeated = pd.concat([gap, gap.assign(stock_id=gap["stock_id"] + "-2")], ignore_index=True)
    figure = figure_of(wx.plot_daily_sends(repeated, coupons, now=history["fetched_at"].max(), lang=lang))
    figure.draw_without_rendering()
    width, height = figure.bbox.size
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text():
            box = text.get_window_extent()
            assert -1 <= box.x0 <= box.x1 <= width + 1, text.get_text()
            assert -1 <= box.y0 <= box.y1 <= height + 1, text.get_text()


def test_both_languages_say_the_same_things() -> None:
    """English names states by the API's own words, which need no translation."""
    assert set(WORDS["zh"]) - set(WORDS["en"]) == {*drawing.COUPON_COLOURS, *drawing.STOCK_COLOURS}
    assert set(WORDS["en"]) <= set(WORDS["zh"])
    for name, english in WORDS["en"].items():
        assert re.findall(r"\{.*?\}", english) == re.findall(r"\{.*?\}", WORDS["zh"][name]), name


# Machado, Oliveira and Fernandes (2009), severity 1: what linear RGB becomes to a protanope, deuteranope, tritanope.
SIGHTS: Mapping[str, list[list[float]]] = {
    "full": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
PALETTES = {
    "coupon states": [*drawing.COUPON_COLOURS.values()],
    "stock states": [*drawing.STOCK_COLOURS.values()],
    "limits": [*drawing.LIMIT_COLOURS.values()],
    "lines": [*drawing.LINE_COLOURS],
    "sends": [drawing.SENT, drawing.SENT_SO_FAR, drawing.GAP, drawing.LIMIT, drawing.AHEAD],
}


def seen(colour: str, sight: list[list[float]]) -> np.ndarray:
    """A colour as CIE Lab (D65) under a kind of sight."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    xyz = np.array(to_xyz) @ np.clip(np.array(sight) @ linear, 0, 1) / [0.95047, 1, 1.08883]
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("palette", PALETTES)
def test_colours_of_one_plot_stay_apart_for_the_colour_blind(palette: str, sight: str) -> None:
    """A difference of 2.3 is just noticed; side by side, 12 cannot be taken for one another."""
    for a, b in combinations(PALETTES[palette], 2):
        distance = float(np.linalg.norm(seen(a, SIGHTS[sight]) - seen(b, SIGHTS[sight])))
        assert distance > 12, (a, b)


def test_the_simulation_tells_what_the_colour_blind_confuse() -> None:
    """Red and green of one lightness: apart for most, alike to a deuteranope."""
    red, green = "#D55E00", "#8F8B00"
    apart = {sight: np.linalg.norm(seen(red, m) - seen(green, m)) for sight, m in SIGHTS.items()}
    assert apart["full"] > 40
    assert apart["deutan"] < 12


def test_every_plot_is_one_svg_element_that_needs_nothing_else(plots: Mapping[str, list[Axes]]) -> None:
    for place, ax in enumerate(plots["zh"]):
        text = svg_text(ax, name=f"plot-{place}")
        root = ET.fromstring(text)
        tags = {element.tag.rpartition("}")[2] for element in root.iter()}
        assert root.tag.endswith("svg")
        assert not tags & {"text", "image", "script", "metadata", "foreignObject"}, "letters are outlines"
        addresses = set(re.findall(r"https?://[^\"' )]+", text))
        assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
        ids = {element.get("id") for element in root.iter()} - {None}
        assert all(str(name).startswith(f"plot-{place}-") for name in ids)
        asked = {name for found in re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text) for name in found if name}
        assert asked
        assert asked <= ids
        assert root.get("aria-label") == ax.get_title(loc="left")


def test_the_same_plot_gives_the_same_svg_and_changes_no_setting() -> None:
    before = dict(mpl.rcParams)
    stocks = wx.load_sample("stocks").head(2)
    one, two = (svg_text(wx.plot_budget_use(stocks), name="budget") for _ in range(2))
    assert one == two
    assert dict(mpl.rcParams) == before


def test_the_svg_takes_its_ink_and_ground_from_the_page() -> None:
    text = svg_text(wx.plot_budget_use(wx.load_sample("stocks").head(2)), name="budget")
    light = drawing.LIGHT._asdict()
    for variable in ("ink", "faint", "edge", "track"):
        assert f"var(--plot-{variable}, {light[variable].lower()})" in text.lower()
    rest = re.sub(r"var\([^)]*\)", "", text).lower()
    assert not [colour for colour in light.values() if colour.lower() in rest]
    with plt.style.context("dark_background"):
        dark = svg_text(wx.plot_budget_use(wx.load_sample("stocks").head(2)), name="budget")
    made_of_colours = r"budget-m\w+"  # matplotlib names its marks by how they look
    assert re.sub(made_of_colours, "", dark) == re.sub(made_of_colours, "", text)


@pytest.mark.parametrize("style", ["default", "dark_background", "Solarize_Light2", "ggplot"])
def test_every_word_can_be_read_on_the_ground_of_the_users_style(history: pd.DataFrame, style: str) -> None:
    on_a_fill = {drawing.ON_LIGHT, drawing.ON_DARK}
    with plt.style.context(style):
        for ax in every_plot(history, "zh"):
            figure = figure_of(ax)
            figure.draw_without_rendering()
            ground = to_hex(figure.get_facecolor())
            words = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
            assert len(words) > 5
            for text in words:
                ink = to_hex(text.get_color()).upper()
                assert ink in on_a_fill or contrast(ink, ground) > 4.3, (text.get_text(), ink)


def test_a_figure_without_a_ground_stands_on_a_white_page() -> None:
    with plt.rc_context({"figure.facecolor": "none"}):
        _, ax = plt.subplots()
        assert drawing.greys(ax) == drawing.LIGHT


def test_a_title_with_markup_does_not_leave_its_attribute() -> None:
    _, ax = plt.subplots()
    ax.set_title('<b> "5" & \\$6', loc="left")
    assert ET.fromstring(svg_text(ax, name="odd")).get("aria-label") == '<b> "5" & $6'
    figure, (left, right) = plt.subplots(1, 2)
    left.set_title("甲", loc="left", fontproperties=drawing.letters(9))
    right.set_title("乙", loc="left", fontproperties=drawing.letters(9))
    assert ET.fromstring(svg_text(figure, name="two")).get("aria-label") == "甲 · 乙"


def luminance(colour: str) -> float:
    parts = ((part + 0.055) / 1.055 for part in to_rgb(colour))
    return float(np.dot([0.2126, 0.7152, 0.0722], [part**2.4 for part in parts]))


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_states_invented_later_and_unknown_ones_show_on_a_light_and_on_a_dark_ground() -> None:
    colours = drawing.coupon_colours([None, "FROZEN", "LENT", "LOST"]).values()
    assert len(set(colours)) == 4
    for colour in (*colours, drawing.OTHER):
        assert contrast(colour, "#ffffff") >= 3 <= contrast(colour, "#14171a"), colour


def test_letters_on_a_fill_are_those_that_stand_out_more() -> None:
    for fill in (*drawing.COUPON_COLOURS.values(), *drawing.coupon_colours([None, "A", "B", "C"]).values()):
        chosen = drawing.letters_on(fill)
        other = drawing.ON_LIGHT if chosen == drawing.ON_DARK else drawing.ON_DARK
        assert contrast(chosen, fill) >= contrast(other, fill), fill


def test_a_legend_of_two_rows_is_read_row_by_row() -> None:
    ax = drawing.new_axes(1)
    drawing.add_legend(ax, [(str(place), "#000000") for place in range(9)])
    figure_of(ax).draw_without_rendering()
    legend = ax.get_legend()
    assert legend is not None
    seen = sorted(
        legend.get_texts(), key=lambda text: (-round(text.get_window_extent().y0), text.get_window_extent().x0)
    )
    assert [text.get_text() for text in seen] == [str(place) for place in range(9)]


@pytest.mark.parametrize(("limit", "dashed"), [(100_000_000, False), (500, True)])
def test_a_daily_limit_far_above_leaves_the_bars_their_height(limit: int, dashed: bool) -> None:
    stocks = [
        wx.flatten(
            "stocks",
            {
                "product_coupon_id": "7",
                "stock_id": "1",
                "state": "SENDING",
                "stock_send_rule": {"max_count": 10**9, "max_count_per_day": limit},
                "sent_count_info": {"total_count": 50 * day, "today_count": 0},
            },
            fetched_at=pd.Timestamp(f"2026-11-{day:02}T02:00+08:00"),
        )
        for day in range(1, 9)
    ]
    ax = wx.plot_daily_sends(pd.concat(stocks), now=pd.Timestamp("2026-11-08T12:00+08:00"), lang="en")
    tallest = max(abs(patch.get_height()) for patch in ax.patches)
    assert tallest == pytest.approx(0.072 if dashed else 0.72)
    assert any(line.get_color() == drawing.LIMIT for line in ax.lines) is dashed
    assert any(f"limit {limit:,} a day" in text.get_text() for text in ax.texts)
