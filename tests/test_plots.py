"""The plots: what is on them comes from the metrics, can be read, and leaves matplotlib as it was."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
from matplotlib.axes import Axes
from matplotlib.font_manager import fontManager

from tests.metrics.frames import (
    ENGINES,
    NOON,
    SHANGHAI,
    YESTERDAY,
    as_engine,
    coupon,
    product_coupon,
    product_coupons,
    stock,
    stocks,
    user_coupons,
)
from wxcoupon_analytics import fonts
from wxcoupon_analytics.errors import ValidationError
from wxcoupon_analytics.plots import (
    plot_budget_use,
    plot_daily_sends,
    plot_funnel,
    plot_quota_days,
    plot_redemption_curve,
    plot_remaining_daily_quota,
    plot_state_breakdown,
    plot_state_history,
)

STOCK = stock("s1", max_count=1000, sent=250, per_day=50, today=8, remark="会员日")
RECEIVED = {"receive_time": NOON - timedelta(days=3), "single_usage_detail_use_time": NOON - timedelta(days=1)}
USERS = user_coupons(
    coupon("A", "USED", **RECEIVED),
    coupon("B", "USED", **RECEIVED),
    coupon("C", "EFFECTIVE", stock_id="s2", **RECEIVED),
)
HISTORY = stocks(
    *(
        stock(
            "s1",
            max_count=1000,
            sent=250 - 8 * n,
            per_day=50,
            today=8,
            remark="会员日",
            fetched_at=NOON - timedelta(days=n),
        )
        for n in range(4)
    )
)
TOPPED = ["budget", "quota", "states", "states by stock", "sends", "quota days", "curve"]


@pytest.fixture(autouse=True)
def _figures_closed() -> Iterator[None]:
    mpl.use("Agg")
    yield
    plt.close("all")


def texts(ax: Axes) -> str:
    """Every word on the plot."""
    legend = ax.get_legend()
    parts = [ax.get_title(loc="left"), ax.get_xlabel(), *(label.get_text() for label in ax.get_yticklabels())]
    parts += [text.get_text() for text in ax.texts] + [
        text.get_text() for text in (legend.get_texts() if legend else ())
    ]
    return "\n".join(parts)


def bars(ax: Axes) -> list[float]:
    """The lengths of the bars drawn over the grey tracks."""
    return [float(bar.get_width()) for bar in ax.patches if bar.get_zorder() == 2]


PLOTS = {
    "budget": lambda **options: plot_budget_use(stocks(STOCK), **options),
    "quota": lambda **options: plot_remaining_daily_quota(stocks(STOCK), now=NOON, **options),
    "states": lambda **options: plot_state_breakdown(USERS, **options),
    "states by stock": lambda **options: plot_state_breakdown(USERS, by="stock_id", **options),
    "history": lambda **options: plot_state_history(USERS, **options),
    "funnel": lambda **options: plot_funnel(USERS, **options),
    "sends": lambda **options: plot_daily_sends(HISTORY, now=NOON, **options),
    "quota days": lambda **options: plot_quota_days(HISTORY, **options),
    "curve": lambda **options: plot_redemption_curve(USERS, **options),
    "curve by stock": lambda **options: plot_redemption_curve(USERS, by="stock_id", **options),
}


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("plot", PLOTS)
def test_every_plot_draws_without_a_warning_has_a_title_a_unit_and_its_date(plot: str, lang: str) -> None:
    ax = PLOTS[plot](lang=lang)
    ax.figure.canvas.draw()  # a missing glyph would warn, and warnings are errors
    assert ax.get_title(loc="left")
    assert any(unit in ax.get_xlabel() for unit in ("%", "coupons", "张", "day", "日期", "天"))
    assert "□" not in texts(ax)  # what stands for a letter that no font has
    assert "2025-08-02 12:00" in texts(ax)


@pytest.mark.parametrize("plot", PLOTS)
def test_a_given_ax_is_drawn_into_and_no_figure_is_opened(plot: str) -> None:
    figure, ax = plt.subplots()
    assert PLOTS[plot](ax=ax) is ax
    assert plt.get_fignums() == [figure.number]


@pytest.mark.parametrize("plot", PLOTS)
def test_without_an_ax_there_is_one_new_figure_and_no_setting_changed(plot: str) -> None:
    before = dict(mpl.rcParams)
    ax = PLOTS[plot]()
    assert [ax.figure.number] == plt.get_fignums()
    assert dict(mpl.rcParams) == before
    assert "zhplot" not in sys.modules


@pytest.mark.parametrize("plot", PLOTS)
def test_a_language_that_no_plot_speaks_is_refused(plot: str) -> None:
    with pytest.raises(ValidationError, match="the plots speak 'en' and 'zh'"):
        PLOTS[plot](lang="fr")


@pytest.mark.parametrize("plot", TOPPED)
def test_a_top_that_shows_nothing_is_refused(plot: str) -> None:
    with pytest.raises(ValidationError, match="at least one bar"):
        PLOTS[plot](top=0)


@pytest.mark.parametrize("engine", ENGINES)
def test_frames_of_every_engine_are_drawn(engine: str) -> None:
    frame = as_engine(engine, "stocks", stocks(STOCK))
    assert bars(plot_budget_use(frame)) == [0.25]
    assert bars(plot_remaining_daily_quota(frame, now=NOON)) == [42]
    assert sum(bars(plot_state_breakdown(as_engine(engine, "user_coupons", USERS)))) == pytest.approx(1)


def test_the_budget_plot_shows_share_counts_and_the_state_of_what_does_not_send() -> None:
    ax = plot_budget_use(stocks(STOCK, stock("s2", max_count=10, sent=9, state="PAUSED")), lang="en")
    assert bars(ax) == [0.9, 0.25]
    assert "90.0% · 9 / 10 · 1 left · PAUSED" in texts(ax)
    assert "25.0% · 250 / 1,000 · 750 left" in texts(ax)


def test_an_unknown_share_is_a_dash_and_comes_last() -> None:
    ax = plot_budget_use(stocks(stock("s2", sent=7), STOCK))
    assert bars(ax) == [0.25, 0]
    assert "— · 7 / —" in texts(ax)


def test_stocks_are_named_by_coupon_and_remark_and_by_id_where_that_is_not_enough() -> None:
    frame = stocks(
        stock("s1", remark="会员日"),
        stock("s2", remark="会员日"),
        stock("s3"),
        stock("s4", product_coupon_id="p9"),
        stock("s5", remark="长" * 60),
    )
    ax = plot_budget_use(frame, product_coupons(product_coupon()))
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "满200减50 · 会员日 (s1)",
        "满200减50 · 会员日 (s2)",
        "满200减50",
        "s4",
        "满200减50 · " + "长" * 13 + "…",
    ]


def test_stocks_without_ids_are_drawn_with_a_dash() -> None:
    frame = stocks(stock(None), stock(None, remark="会员日"), stock(None, remark="会员日"))
    for ax in (plot_budget_use(frame), plot_remaining_daily_quota(frame, now=NOON)):
        ax.figure.canvas.draw()
        names = [label.get_text() for label in ax.get_yticklabels()]
        assert names == ["—", "会员日 (—)", "会员日 (—)"]


@pytest.mark.parametrize("engine", ENGINES)
def test_two_brands_with_the_same_ids_keep_their_own_names(engine: str) -> None:
    brands = ("b1", "b2")
    frame = stocks(*(stock(brand_id=b, per_day=n, today=0) for n, b in enumerate(brands, start=1)))
    coupons = product_coupons(*(product_coupon(brand_id=b, display_info_name=f"of {b}") for b in brands))
    ax = plot_remaining_daily_quota(as_engine(engine, "stocks", frame), coupons, now=NOON)
    assert bars(ax) == [2, 1]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["of b2", "of b1"]


@pytest.mark.parametrize(("lang", "note"), [("zh", "另有 40 个"), ("en", "and 40 more")])
def test_sixty_stocks_are_cut_to_twenty_and_the_plot_says_so(lang: str, note: str) -> None:
    frame = stocks(*(stock(f"s{i:02}", max_count=100, sent=i, per_day=100, today=i) for i in range(60)))
    for ax in (plot_budget_use(frame, lang=lang), plot_remaining_daily_quota(frame, now=NOON, lang=lang)):
        assert len(bars(ax)) == 20
        assert note in texts(ax)
    assert max(bars(plot_budget_use(frame))) == 0.59
    assert "more" not in texts(plot_budget_use(frame, lang="en", top=60))


def test_stale_rows_are_starred_hatched_and_explained() -> None:
    frame = stocks(STOCK, stock("s2", per_day=20, today=20, fetched_at=YESTERDAY))
    ax = plot_remaining_daily_quota(frame, now=NOON, lang="en")
    assert "20 *" in texts(ax)
    assert "fetched before today" in texts(ax)
    assert [bar.get_hatch() for bar in ax.patches] == [None, "///"]
    assert "2025-08-01 23:59 to 2025-08-02 12:00" in texts(ax)


def test_the_quota_plot_says_why_nothing_can_be_sent_and_what_is_unknown() -> None:
    frame = stocks(stock("s1", per_day=5, today=5), stock("s2", state="STOPPED"), stock("s3"))
    ax = plot_remaining_daily_quota(frame, now=NOON, lang="en")
    assert "0 · limited by the day" in texts(ax)
    assert "0 · STOPPED" in texts(ax)
    assert "—" in [text.get_text() for text in ax.texts]
    assert "no limit known" in texts(ax)


def test_the_state_plot_has_every_state_and_stacks_to_the_whole_group() -> None:
    ax = plot_state_breakdown(USERS)
    assert len(bars(ax)) == 7
    assert "66.7% · 2" in texts(ax)
    assert "已核销" in texts(ax)
    stacked = plot_state_breakdown(USERS, by="stock_id", lang="en")
    assert max(bar.get_x() + bar.get_width() for bar in stacked.patches) == pytest.approx(1)
    assert [label.get_text() for label in stacked.get_yticklabels()] == ["s1", "s2"]
    assert "DEACTIVATED" in texts(stacked)


def test_every_state_has_a_colour_of_its_own_also_those_invented_later() -> None:
    frame = user_coupons(*(coupon(str(i), state) for i, state in enumerate(["NEW", "NEWER", None])))
    ax = plot_state_breakdown(frame)
    colours = [bar.get_facecolor() for bar in ax.patches if bar.get_zorder() == 2]
    assert len(set(colours)) == len(colours) == 10


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_an_empty_frame_is_said_to_be_empty(lang: str) -> None:
    words = {"zh": "没有数据", "en": "nothing to show"}[lang]
    for ax in (
        plot_budget_use(stocks(), lang=lang),
        plot_remaining_daily_quota(stocks(), lang=lang),
        plot_state_breakdown(user_coupons(), by="stock_id", lang=lang),
        plot_state_history(user_coupons(), lang=lang),
        plot_daily_sends(stocks(), now=NOON, lang=lang),
        plot_quota_days(stocks(), lang=lang),
        plot_redemption_curve(user_coupons(), lang=lang),
        plot_redemption_curve(user_coupons(), by="stock_id", lang=lang),
    ):
        ax.figure.canvas.draw()
        assert words in texts(ax)


def test_names_with_dollars_emoji_and_line_breaks_are_drawn_as_text() -> None:
    coupons = product_coupons(product_coupon(display_info_name="$5$ 冰\n淇淋🍦"))
    ax = plot_budget_use(stocks(stock()), coupons)
    ax.figure.canvas.draw()
    assert ax.get_yticklabels()[0].get_text() == r"\$5\$ 冰 淇淋□"


@pytest.fixture
def no_chinese_font(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    caches: list[Any] = [fonts._families, fonts._glyphs, fonts._warn_once]
    for cached in caches:
        cached.cache_clear()
    monkeypatch.setattr(fontManager, "ttflist", [font for font in fontManager.ttflist if font.name == "DejaVu Sans"])
    monkeypatch.setattr(fonts.importlib.util, "find_spec", lambda name: None)
    yield
    for cached in caches:
        cached.cache_clear()


@pytest.mark.usefixtures("no_chinese_font")
def test_without_a_chinese_font_one_warning_names_the_fix_and_the_plot_is_still_drawn() -> None:
    with pytest.warns(UserWarning, match=r"pip install 'wxcoupon-analytics\[fonts\]'"):
        ax = plot_budget_use(stocks(STOCK))
    ax.figure.canvas.draw()  # neither this nor the next plot warns again: a warning is an error
    plot_budget_use(stocks(STOCK))
    assert "□" in texts(ax)


@pytest.mark.usefixtures("no_chinese_font")
def test_english_needs_no_chinese_font() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_budget_use(stocks(stock("s1", max_count=2, sent=1)), lang="en").figure.canvas.draw()


def test_now_defaults_to_the_present() -> None:
    frame = stocks(stock(fetched_at=datetime.now(SHANGHAI), per_day=5, today=1))
    assert bars(plot_remaining_daily_quota(frame)) == [4]
