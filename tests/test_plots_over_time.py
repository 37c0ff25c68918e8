"""The plots over days: every bar, band and label is a number of the metric it draws."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection, QuadMesh
from matplotlib.colors import to_hex

import wxcoupon_analytics as wx
from tests.metrics.frames import (
    ENGINES,
    NOON,
    as_engine,
    coupon,
    product_coupon,
    product_coupons,
    rows,
    stock,
    stocks,
    user_coupons,
)
from tests.test_plots import texts
from wxcoupon_analytics import drawing
from wxcoupon_analytics.drawing import spread
from wxcoupon_analytics.words import WORDS

DAY = timedelta(days=1)
FIRST = NOON.date() - 9 * DAY  # the first day that HISTORY has


@pytest.fixture(autouse=True)
def _figures_closed() -> Iterator[None]:
    mpl.use("Agg")
    yield
    plt.close("all")


def days(
    stock_id: str = "s1", sends: tuple[int, ...] = (9, 12, 30, 8, 9, 10, 11, 12, 9, 4), **columns: Any
) -> list[dict]:
    """Readings of ten days up to NOON, each at noon when all of the day's coupons had been sent."""
    totals = [sum(sends[: n + 1]) for n in range(len(sends))]
    return [
        stock(stock_id, **{"sent": total, "today": today, "max_count": 150, **columns, "fetched_at": NOON - back * DAY})
        for back, total, today in zip(range(len(sends) - 1, -1, -1), totals, sends, strict=True)
    ]


HISTORY = stocks(*days(per_day=30))


def heights(ax: Axes, colour: str) -> list[float]:
    return [-patch.get_height() for patch in ax.patches if to_hex(patch.get_facecolor()).upper() == colour]


def span(ax: Axes, colour: str) -> tuple[float, float]:
    """From where to where a band of this colour goes."""
    [band] = [
        c for c in ax.collections if isinstance(c, PolyCollection) and to_hex(c.get_facecolor()[0]).upper() == colour
    ]
    xs = band.get_paths()[0].vertices[:, 0]
    return min(xs), max(xs)


def written(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]


@pytest.mark.parametrize("engine", ENGINES)
def test_the_bars_are_the_sends_of_each_day(engine: str) -> None:
    ax = wx.plot_daily_sends(as_engine(engine, "stocks", HISTORY), now=NOON)
    sends = [row for row in rows(wx.daily_sends(HISTORY)) if row["day"]]
    whole = [row["sends"] for row in sends if row["complete"]]
    drawn = heights(ax, drawing.SENT)
    assert [height / max(drawn) for height in drawn] == pytest.approx([n / max(whole) for n in whole])
    [running] = heights(ax, drawing.SENT_SO_FAR)
    assert running / max(drawn) == pytest.approx(4 / max(whole))
    assert [text for text in written(ax) if text.isdigit()] == [str(row["sends"]) for row in sends]
    places = [patch.get_x() + patch.get_width() / 2 for patch in ax.patches]
    assert places == pytest.approx([row["day"].toordinal() for row in sends])


def test_the_dashes_are_at_the_daily_limit() -> None:
    ax = wx.plot_daily_sends(HISTORY, now=NOON, lang="en")
    bars, floor = heights(ax, drawing.SENT), 0.36
    [line] = [line for line in ax.lines if line.get_color() == drawing.LIMIT]
    assert floor - line.get_ydata()[0] == pytest.approx(max(bars))  # the peak, 30, hit it
    assert "limit 30 a day" in texts(ax)


def test_the_forecast_is_drawn_and_written_as_the_metric_has_it() -> None:
    [forecast] = rows(wx.exhaustion_forecast(HISTORY, now=NOON))
    ax = wx.plot_daily_sends(HISTORY, now=NOON, lang="en")
    low, high = (forecast[name].toordinal() for name in ("low_date", "high_date"))
    assert span(ax, drawing.AHEAD) == (low - 0.5, high + 0.5)
    marker = next(line for line in ax.lines if line.get_marker() == "o")
    assert marker.get_xdata()[0] == forecast["expected_date"].toordinal()
    height = (0.36 - marker.get_ydata()[0]) / max(heights(ax, drawing.SENT)) * 30
    assert height == pytest.approx(forecast["rate_per_day"])
    assert (
        f"out on {forecast['expected_date']} ({forecast['low_date']:%m-%d} to {forecast['high_date']:%m-%d})"
        in texts(ax)
    )
    assert f"{forecast['remaining_count']} left · {forecast['rate_per_day']:.0f} a day" in texts(ax)
    other = wx.plot_daily_sends(HISTORY, now=NOON, window_days=3, lang="en")
    assert "last 3 days" in texts(other)


def test_the_pace_is_the_metrics_last() -> None:
    period = {
        "single_usage_rule_coupon_available_period_available_begin_time": NOON - 10 * DAY,
        "single_usage_rule_coupon_available_period_available_end_time": NOON + 10 * DAY,
    }
    history = stocks(*days(**period))
    last = rows(wx.pace(history))[-1]["pace"]
    assert last == pytest.approx(1.52)
    assert "pace 1.52×" in texts(wx.plot_daily_sends(history, now=NOON, lang="en"))


@pytest.mark.parametrize(
    ("columns", "reason", "words"),
    [
        ({"max_count": None}, "no_limit", "no limit to run out of"),
        ({"max_count": 114}, "exhausted", "all sent"),
        ({"state": "PAUSED"}, "not_sending", "not sending"),
        ({"max_count": 10**6}, "outlasts_sending", "some will be left when sending ends"),
    ],
)
def test_without_a_forecast_the_row_says_why(columns: dict[str, Any], reason: str, words: str) -> None:
    history = stocks(*days(**columns))
    assert [row["reason"] for row in rows(wx.exhaustion_forecast(history, now=NOON))] == [reason]
    ax = wx.plot_daily_sends(history, now=NOON, lang="en")
    assert words in texts(ax)
    assert not ax.collections


def test_every_reason_of_the_metric_has_words() -> None:
    doc = wx.exhaustion_forecast.__doc__ or ""
    reasons = {line.split("``")[1] for line in doc.splitlines() if line.strip().startswith("- ``")}
    assert len(reasons) >= 6
    assert all(reasons <= set(WORDS[lang]) for lang in WORDS)


def test_days_without_a_snapshot_are_one_block_with_what_was_sent_in_all_of_them() -> None:
    history = HISTORY[~HISTORY["fetched_day"].isin([FIRST + 3 * DAY, FIRST + 4 * DAY])]
    joined = next(row for row in rows(wx.daily_sends(history)) if row["days_covered"] == 3)
    ax = wx.plot_daily_sends(history, now=NOON, lang="en")
    [block] = [patch for patch in ax.patches if to_hex(patch.get_facecolor()).upper() == drawing.GAP]
    assert (block.get_x() + 0.46, block.get_width() + 0.08) == pytest.approx((joined["day"].toordinal(), 3))
    assert str(joined["sends"]) in written(ax)
    assert "days without a snapshot" in texts(ax)


def test_counters_that_went_backwards_are_a_cross() -> None:
    history = stocks(*days()[:5], stock("s1", sent=3, today=1, max_count=150, fetched_at=NOON))
    ax = wx.plot_daily_sends(history, now=NOON, lang="en")
    assert [line.get_marker() for line in ax.lines].count("x") == 1
    assert "counters went backwards" in texts(ax)


def test_stocks_that_run_out_soonest_come_first_and_those_that_do_not_send_last() -> None:
    history = stocks(
        *days("paused", state="PAUSED"),
        *days("late", max_count=200),
        *days("soon", max_count=120),
        *days("never", max_count=10**6),
    )
    ax = wx.plot_daily_sends(history, now=NOON)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["soon", "late", "never", "paused"]
    assert "另有 2 个未显示" in texts(wx.plot_daily_sends(history, now=NOON, top=2))


@pytest.mark.parametrize("plot", [lambda h, c: wx.plot_daily_sends(h, c, now=NOON), wx.plot_quota_days])
def test_rows_are_named_by_coupon_and_the_latest_remark(plot: Any) -> None:
    history = stocks(*(day | {"remark": f"第{n}版"} for n, day in enumerate(days(per_day=30))))
    ax = plot(history, product_coupons(product_coupon()))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["满200减50 · 第9版"]


def test_the_cells_are_the_shares_used_and_the_dots_the_days_that_hit() -> None:
    history = stocks(*days(per_day=30), *days("s2", sends=(0, 30, 1, 2, 3, 4, 5, 6, 7, 8), per_day=30))
    metric = rows(wx.quota_days(history))
    ax = wx.plot_quota_days(history, lang="en")
    [mesh] = [c for c in ax.collections if isinstance(c, QuadMesh)]
    assert mesh.get_array().compressed().tolist() == [row["used_share"] for row in metric]
    [dots] = ax.lines
    assert sorted(dots.get_xdata()) == sorted(row["day"].toordinal() for row in metric if row["hit"])
    assert len(dots.get_xdata()) == 2
    assert [text for text in written(ax) if text.endswith("%")] == [
        f"{r['used_share']:.0%}" for r in metric if not r["hit"]
    ]


def test_a_day_that_is_not_known_exactly_is_blank() -> None:
    history = HISTORY[HISTORY["fetched_day"] != FIRST + 3 * DAY]
    [mesh] = [c for c in wx.plot_quota_days(history).collections if isinstance(c, QuadMesh)]
    assert mesh.get_array().mask.tolist() == [[False, False, True, True, False, False, False, False, False]]


COUPONS = user_coupons(
    *(
        coupon(
            f"{number}",
            state,
            NOON + number % 2 * DAY,
            stock_id="s1" if number < 6 else "s2",
            product_coupon_id="p1",
            receive_time=NOON - 4 * DAY,
            confirm_time=None if state == "CONFIRMING" else NOON - 4 * DAY,
            valid_end_time=NOON - DAY if state == "EXPIRED" else NOON + 20 * DAY,
            single_usage_detail_use_time=NOON - timedelta(hours=20 * number) if state == "USED" else None,
        )
        for number, state in enumerate(
            ["USED", "USED", "USED", "EXPIRED", "DELETED", "EFFECTIVE", "EFFECTIVE", "CONFIRMING"]
        )
    )
)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_history_is_stacked_from_the_counts_of_each_day(engine: str) -> None:
    metric = rows(wx.state_history(COUPONS))
    ax = wx.plot_state_history(as_engine(engine, "user_coupons", COUPONS), lang="en")
    last = {row["coupon_state"]: row["count"] for row in metric if row["day"] == metric[-1]["day"] and row["count"]}
    assert [band.get_label() for band in ax.collections] == list(last)
    tops = [max(band.get_paths()[0].vertices[:, 1]) for band in ax.collections]
    assert tops == [sum(list(last.values())[: n + 1]) for n in range(len(last))]
    for state, count in last.items():
        assert f"{state} {count}" in written(ax)


def test_the_funnel_is_the_metric_and_its_parts_are_the_states() -> None:
    metric = {row["stage"]: row for row in rows(wx.coupon_funnel(COUPONS))}
    ax = wx.plot_funnel(COUPONS, lang="en")
    lengths: dict[float, float] = {}
    for bar in ax.patches:
        if bar.get_zorder() == 2:
            lengths[round(bar.get_y(), 3)] = lengths.get(round(bar.get_y(), 3), 0) + bar.get_width()
    shown = ["received", "confirmed", "used", "usable", "lost", "unconfirmed"]
    assert list(lengths.values()) == pytest.approx([metric[stage]["share"] for stage in shown])
    assert "25.0% · 2 · EXPIRED 1 · DELETED 1" in written(ax)
    assert "100.0% · 8" in written(ax)
    odd = wx.plot_funnel(user_coupons(coupon("A", "NEW")), lang="en")
    assert "other states" in texts(odd)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_curve_and_its_band_are_the_metric(engine: str) -> None:
    metric = rows(wx.redemption_curve(COUPONS))
    ax = wx.plot_redemption_curve(as_engine(engine, "user_coupons", COUPONS), lang="en")
    curve, end = ax.lines
    assert curve.get_xdata().tolist() == [row["day"] for row in metric]
    assert curve.get_ydata().tolist() == [row["used_share"] for row in metric]
    assert end.get_xydata().tolist() == [[metric[-1]["day"], metric[-1]["used_share"]]]
    corners = ax.collections[0].get_paths()[0].vertices[:, 1]
    banded = [row for row in metric if row["used_low"] is not None]
    shares = [row[name] for row in banded for name in ("used_low", "used_high")]
    assert sorted({*corners}) == pytest.approx(sorted({*shares}))
    assert written(ax)[0] == f"{metric[-1]['used_share']:.1%}"


def test_cohorts_have_a_line_each_named_by_coupon_and_the_rest_is_counted() -> None:
    stocks_ = stocks(stock("s1", remark="甲"), stock("s2", remark="乙"))
    named = wx.plot_redemption_curve(
        COUPONS, by="stock_id", stocks=stocks_, product_coupons=product_coupons(product_coupon())
    )
    assert [text.split(" ")[2] for text in written(named)[:2]] == ["乙", "甲"]  # from below
    assert "按批次" in texts(named)
    cut = wx.plot_redemption_curve(COUPONS, by="coupon_code", top=3, lang="en")
    assert len([line for line in cut.lines if line.get_marker() == "o"]) == 3
    assert "and 5 more" in texts(cut)


def test_states_by_stock_are_named_by_coupon() -> None:
    ax = wx.plot_state_breakdown(COUPONS, by="stock_id", stocks=stocks(stock("s1", remark="甲")), product_coupons=None)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["甲", "s2"]


def test_axes_of_days_say_the_year_where_there_are_two() -> None:
    def ticks(back: int, **options: int) -> list[str]:
        history = stocks(
            stock(fetched_at=NOON), stock(fetched_at=NOON - back * DAY), stock(fetched_at=NOON - (back - 1) * DAY)
        )
        ax = wx.plot_daily_sends(
            history.fillna({"sent_count_info_total_count": 1, "sent_count_info_today_count": 0}), now=NOON, **options
        )
        ax.figure.canvas.draw()
        return [label.get_text() for label in ax.get_xticklabels()]

    assert ticks(4)[0] == "07-29"
    assert ticks(300, last_days=400)[0] == "2024-10-06"
    assert len(ticks(300, last_days=400)) <= 7


def test_labels_that_would_overlap_are_moved_apart_in_order() -> None:
    moved = spread([0.0, 0.01, 0.02, 1.0], 0.1, 0, 1)
    assert moved == pytest.approx([0, 0.1, 0.2, 1])
    assert spread([0.97, 0.98, 0.99], 0.1, 0, 1) == pytest.approx([0.8, 0.9, 1])
    crowded = spread([0.5] * 5, 0.5, 0, 1)
    assert [b - a for a, b in pairwise(crowded)] == pytest.approx([0.5] * 4)
    assert spread([], 0.1, 0, 1) == []


def test_of_a_long_history_the_last_days_are_drawn_and_the_plot_says_so() -> None:
    daily = tuple(10 + n % 7 for n in range(365))
    history = stocks(*(row for k in range(2) for row in days(f"s{k}", sends=daily, per_day=16, max_count=10**5)))
    ax = wx.plot_daily_sends(history, now=NOON, lang="en")
    assert len(heights(ax, drawing.SENT)) == 2 * 59  # and the running day
    assert ax.get_xlim()[0] == (NOON.date() - 59 * DAY).toordinal() - 0.5
    assert "the last 60 days" in texts(ax)
    assert len(heights(wx.plot_daily_sends(history, now=NOON, last_days=365), drawing.SENT)) == 2 * 364
    cells = wx.plot_quota_days(history, last_days=30)
    assert next(c for c in cells.collections if isinstance(c, QuadMesh)).get_array().shape == (2, 30)
    assert "仅显示最近 30 天" in texts(cells)
    for plot in (wx.plot_daily_sends, wx.plot_quota_days):
        with pytest.raises(wx.ValidationError, match="at least one day"):
            plot(history, last_days=0)
        assert "最近" not in texts(plot(HISTORY))
