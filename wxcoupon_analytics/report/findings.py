"""What a report says in words: the headline, what needs somebody, and what to know of the data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, Final

import pandas as pd

from wxcoupon_analytics.report.numbers import Tables, rows_of
from wxcoupon_analytics.report.readings import Readings
from wxcoupon_analytics.report.tables import ENDED, SOON, STALE
from wxcoupon_analytics.report.wording import Text, named_value, text_of

_NAMED: Final = 3  # stocks of a kind that are named one by one
_ENOUGH: Final = 0.995  # coverage that needs no remark


def headline(found: Readings, tables: Tables, lang: str) -> str:
    """Say the week in one sentence."""
    text = text_of(lang)
    columns = ("measure", "value", "value_at_most", "change_share", "change_share_at_most")
    told = {name: rest for name, *rest in rows_of(tables["headlines"], *columns)}
    sends, most, low, high = told["sends"]
    key = "headline_sends_between"
    if most is None:
        key = "headline_sends_at_least" if found.is_over else "headline_sends_running"
    elif sends == most:
        key = "headline_sends"
    numbers = {"n": f"{sends:,}", "most": f"{most or sends:,}"}
    parts = [text[key].format(name=found.week.name, change=_than_before(low, high, text), **numbers)]
    if "used" in told:
        used, most, low, high = told["used"]
        key = "headline_used_at_least" if most is None else "headline_used"
        parts.append(text[key].format(n=range_text(used, most or used), change=_than_before(low, high, text)))
    if soon := told["running_out"][0]:
        parts.append(text["headline_soon"].format(n=soon))
    return "".join([*parts, text["headline_end"]])


def actions(found: Readings, tables: Tables, lang: str) -> list[str]:
    """Say what needs somebody, the most urgent first."""
    text = text_of(lang)
    called = _names(tables, text)
    said = [
        *_stale(found, tables, text, lang),
        *_each(_running_out(found, tables), lambda row: _soon_text(row, called(row), text), "forecast", text),
        *_each(
            sorted(
                rows_of(tables["confirming"], *_STOCK, "stuck_count", "longest_age"),
                key=lambda row: row[3],
                reverse=True,
            ),
            lambda row: text["act_stuck"].format(stock=called(row), n=f"{row[3]:,}", age=age_text(row[4], text)),
            "confirming",
            text,
        ),
        *_each(
            sorted(
                (row for row in rows_of(tables["limits"], *_STOCK, *_HITS) if row[3]),
                key=lambda row: row[3],
                reverse=True,
            ),
            lambda row: text["act_hit_at_least" if row[4] is None else "act_hit"].format(
                stock=called(row), n=row[3], limit=f"{row[5]:,}", days=row[6]
            ),
            "limits",
            text,
        ),
    ]
    if odd := len(tables["anomalies"]):
        said.append(text["act_anomaly"].format(n=odd))
    return said


def notes(found: Readings, tables: Tables, lang: str) -> list[str]:
    """Say what of the data is missing, and what that does to the numbers."""
    text = text_of(lang)
    return list(_notes(found, tables, text, lang))


def age_text(age: timedelta, text: Text) -> str:
    """Say a time in days and hours."""
    return text["age"].format(d=age.days, h=age.seconds // 3600)


def stock_name(row: Sequence[Any]) -> str:
    """Call a stock by its coupon and its remark, by its id when it has neither."""
    stock_id, name, remark = row[:3]
    return " · ".join(part for part in (name, remark) if part) or str(stock_id)


_STOCK: Final = ("stock_id", "name", "remark")
_HITS: Final = ("days_hit", "days_hit_at_most", "max_count_per_day", "hit_days")


def _names(tables: Tables, text: Text) -> Callable[[Sequence[Any]], str]:
    """Make what calls a stock in a sentence: with its id, where another one is called the same."""
    names = Counter(stock_name(row) for row in rows_of(tables["sends"], *_STOCK))

    def called(row: Sequence[Any]) -> str:
        name = stock_name(row)
        return text["stock_called"].format(name=name, id=row[0]) if names[name] > 1 else name

    return called


def range_text(least: int, most: int | None) -> str:
    """Say a count that may be known between bounds only, or from below only."""
    if most is None:
        return f"≥ {least:,}"
    return f"{least:,}" if least == most else f"{least:,}–{most:,}"


def change_text(low: float, high: float) -> str:
    """Say a change that may be known between bounds only, as percentages."""
    ends = dict.fromkeys(f"{share:+.1%}".replace("-", "\N{MINUS SIGN}") for share in (low, high))
    return " … ".join(ends)


def _than_before(low: float | None, high: float | None, text: Text) -> str:
    if low is None or high is None:
        return ""
    is_same = round(low, 3) == round(high, 3) == 0
    return text["same_as_before"] if is_same else text["than_before"].format(change_text(low, high))


def _each(rows: Sequence[Any], say: Callable[[Any], str], section: str, text: Text) -> Iterator[str]:
    """Name the first few, and say how many more there are."""
    yield from map(say, rows[:_NAMED])
    if (more := len(rows) - _NAMED) > 0:
        yield text["act_more"].format(n=more, section=text[f"{section}_title"])


def _running_out(found: Readings, tables: Tables) -> list[tuple[Any, ...]]:
    ends = (found.closing + SOON).date()
    columns = (*_STOCK, "expected_date", "low_date", "high_date", "remaining_count")
    return [row for row in rows_of(tables["forecast"], *columns) if row[3] is not None and row[3] <= ends]


def _soon_text(row: Sequence[Any], stock: str, text: Text) -> str:
    day, low, high, left = row[3:]
    key = "act_soon_between" if low and high and low != high else "act_soon"
    return text[key].format(stock=stock, day=day, low=low, high=high, left=f"{left:,}")


def _stale(found: Readings, tables: Tables, text: Text, lang: str) -> Iterator[str]:
    for entity, at, age, stale in rows_of(tables["freshness"], "entity", "last_taken_at", "age", "is_stale"):
        if stale and entity != "product_coupons":
            told = {"entity": named_value("entity", entity, lang), "at": at, "age": age_text(age, text)}
            yield text["act_stale"].format(closing=found.closing, **told)


def _notes(found: Readings, tables: Tables, text: Text, lang: str) -> Iterator[str]:
    if not found.is_over:
        yield text["know_running"].format(at=found.closing)
    yield from _about_snapshots(found, tables, text, lang)
    if found.is_over:
        yield from _not_exact(tables["sends"], text, lang)
        if n := int(tables["limits"]["days_hit_at_most"].isna().sum()):
            yield text["know_limits"].format(n=n)
    if not found.knows_coupons:
        yield text["know_no_coupons"]
        return
    if not found.knew_coupons:
        yield text["know_no_before"]
    yield from _about_deletions(found, tables, text)
    covered = dict(rows_of(tables["rates"], "measure", "rate")).get("coverage")
    if covered is not None and covered < _ENOUGH:
        yield text["know_coverage"].format(share=f"{covered:.1%}")


def _about_deletions(found: Readings, tables: Tables, text: Text) -> Iterator[str]:
    """Tell why deletions are not known, or not exactly."""
    if not found.knows_deletions:
        yield text["know_no_deletions"]
    elif not found.knew_at_opening:
        first = dict(rows_of(tables["freshness"], "entity", "first_taken_at"))["user_coupons"]
        yield text["know_first_coupons"].format(at=first)
    elif n := int(tables["deletions"]["undated_count"].sum()):
        yield text["know_undated"].format(n=f"{n:,}")
    if n := int(tables["redemption"]["unread_count"].sum()):
        yield text["know_unread"].format(n=f"{n:,}")


def _not_exact(sends: pd.DataFrame, text: Text, lang: str) -> Iterator[str]:
    """Count the stocks whose sends are known as a range, then those known only from below, by what keeps them from more."""
    reasons: dict[str, Counter[str]] = {"know_range": Counter(), "know_at_least": Counter()}
    for exact, most, why in rows_of(sends, "sends", "sends_at_most", "why_not_exact"):
        if exact is None:
            # A stock whose counters no reading told has no reason of its own.
            reasons["know_at_least" if most is None else "know_range"][why or "not_read_after"] += 1
    for key, counts in reasons.items():
        if counts:
            named = (
                text["counted"].format(named_value("why_not_exact", why, lang), n) for why, n in counts.most_common()
            )
            yield text[key].format(n=counts.total(), why=text["and"].join(named))


def _about_snapshots(found: Readings, tables: Tables, text: Text, lang: str) -> Iterator[str]:
    """Tell of days without a snapshot of stocks, of a week not closed, and of snapshots that are not whole."""
    taken = found.snapshots.loc[found.snapshots["entity"] == "stocks", "taken_at"]
    days = {at.date() for at in taken}
    # The day on which the report is made may still get one.
    begun = [day for day in found.week.days if day < found.now.date() or day in days]
    missing = [day for day in begun if day not in days]
    if len(taken) == 1:
        yield text["know_one"]
    elif len(missing) == len(begun):
        yield text["know_no_days"].format(at=taken.max())
    else:
        within = [day for day in missing if min(days) < day < max(days)]
        sooner, later = [day for day in missing if day < min(days)], [day for day in missing if day > max(days)]
        for key, those in (("know_gaps", within), ("know_sooner", sooner), ("know_later", later)):
            if those:
                yield text[key].format(days=", ".join(f"{day:%m-%d}" for day in those))
    if found.is_over and taken.max() < pd.Timestamp(found.week.end):
        # The closing lies before the present once that Monday is over; until then the snapshot may still come.
        yield text["know_not_closed" if found.closing < found.now else "know_not_closed_yet"]
    old = [
        state
        for state, as_of in rows_of(tables["sends"], "state", "as_of")
        if state not in ENDED and taken.max() - as_of > STALE
    ]
    if old:
        yield text["know_old_stocks"].format(n=len(old))
    if partial := list(_cut_short(found, lang)):
        yield text["know_incomplete"].format(which=", ".join(partial))


def _cut_short(found: Readings, lang: str) -> Iterator[str]:
    """Name the days of the week on which no snapshot of an entity is whole."""
    of_week = found.snapshots[found.snapshots["taken_at"] >= found.week.start]
    days = of_week.assign(day=of_week["taken_at"].dt.date).groupby(["entity", "day"], sort=True)["complete"].any()
    for entity, day in days.index[~days]:
        yield f"{named_value('entity', entity, lang)} {day:%m-%d}"
