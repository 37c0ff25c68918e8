"""What the journal says of a whole audience: looked up with a few joins, not user by user."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from wxcoupon_analytics.actions.journal import Journal
from wxcoupon_analytics.actions.records import Record
from wxcoupon_analytics.actions.terms import Terms
from wxcoupon_analytics.errors import ValidationError


@dataclass(frozen=True, slots=True)
class Asked:
    """A row of an audience that can be sent to: its place, its user, its request number, its code if it has one."""

    row: int
    openid: str
    number: str
    code: str | None


@dataclass(frozen=True, slots=True)
class Arm:
    """Which arm of a campaign a user is in, for good."""

    is_held_out: bool
    assigned_at: datetime


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known, by row of the audience.

    ``records`` of the row's own request number; ``elsewhere``: a campaign under which this stock was sent to the user with
    another number, where that counts as a repeat; ``coupons``: how many coupons of this stock other numbers have, or may
    have, got the user; ``codes_taken``: rows whose code another send has; ``arms`` of the campaign.
    """

    records: Mapping[int, Record]
    elsewhere: Mapping[int, str]
    coupons: Mapping[int, int]
    codes_taken: frozenset[int]
    arms: Mapping[int, Arm]


def look_up(journal: Journal, terms: Terms, asked: Sequence[Asked]) -> Standing:
    """Ask the journal about an audience, all of it as of one moment."""
    with _asked_table(journal, asked) as db:
        # CROSS JOIN keeps SQLite from turning the joins round: which table is small is not known beforehand.
        ours = {"brand": journal.brand_id, "stock": terms.stock_id, "campaign": terms.campaign, "copy": terms.copy}
        numbers = db.execute(
            "SELECT row, number FROM asked CROSS JOIN actions ON brand_id = :brand AND request_no = number", ours
        ).fetchall()
        known = journal.records(db, [number for _, number in numbers])
        others = db.execute(
            # The same campaign and copy under another number: someone chose a number of their own for it.
            """
            SELECT row, count(*), max(iif(campaign IS NOT :campaign OR copy IS :copy, coalesce(campaign, ''), NULL))
            FROM asked CROSS JOIN actions ON brand_id = :brand AND stock_id = :stock AND actions.openid = asked.openid
            WHERE operation = 'send_coupon' AND status IN ('done', 'unknown') AND request_no <> number
            GROUP BY row
            """,
            ours,
        ).fetchall()
        codes = db.execute(
            """
            SELECT row FROM actions CROSS JOIN asked ON code = json_extract(intent, '$.body.coupon_code')
            WHERE brand_id = :brand AND stock_id = :stock AND operation = 'send_coupon' AND status IN ('done', 'unknown')
                AND request_no <> number
            """,
            ours,
        ).fetchall()
        return Standing(
            records={row: known[number] for row, number in numbers},
            elsewhere={row: campaign for row, _, campaign in others if campaign is not None},
            coupons={row: count for row, count, _ in others},
            codes_taken=frozenset(row for (row,) in codes),
            arms=_arms(db, ours),
        )


def check_shares(journal: Journal, campaign: str, *, holdout: float, seed: int) -> None:
    """Refuse a share or seed other than the one a campaign's arms were drawn with: they could not be compared any more."""
    with journal.reading() as db:
        _check_shares(db, journal.brand_id, campaign, holdout, seed)


def assign(
    journal: Journal, campaign: str, users: Mapping[Asked, bool], *, holdout: float, seed: int, at: datetime
) -> None:
    """Record the arms of users (held out or not), durably; an arm recorded before stays.

    Whom another run of the campaign has begun to send to since they were drawn is in no arm: it cannot be held out any more.
    """
    assigned_at = at.isoformat()
    with journal.writing() as db:
        _check_shares(db, journal.brand_id, campaign, holdout, seed)
        db.executemany(
            "INSERT OR IGNORE INTO assignments (brand_id, campaign, openid, arm, holdout, seed, assigned_at) "
            "SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7 WHERE NOT EXISTS (SELECT 1 FROM actions "
            "WHERE brand_id = ?1 AND request_no = ?8 AND status IN ('done', 'unknown'))",
            [
                (journal.brand_id, campaign, each.openid, arm, holdout, seed, assigned_at, each.number)
                for each, held_out in users.items()
                for arm in ["hold" if held_out else "send"]
            ],
        )


def look_up_arms(journal: Journal, terms: Terms, asked: Sequence[Asked]) -> dict[int, Arm]:
    """Give the arms that are recorded, by row."""
    with _asked_table(journal, asked) as db:
        return _arms(db, {"brand": journal.brand_id, "campaign": terms.campaign})


def _check_shares(db: sqlite3.Connection, brand_id: str, campaign: str, holdout: float, seed: int) -> None:
    row = db.execute(
        "SELECT holdout, seed FROM assignments WHERE brand_id = ? AND campaign = ? AND (holdout <> ? OR seed <> ?) LIMIT 1",
        (brand_id, campaign, holdout, seed),
    ).fetchone()
    if row is not None:
        raise ValidationError(
            f"campaign {campaign!r} was drawn with holdout={row[0]:g}, seed={row[1]}, and users do not change arms: plan "
            f"with these, or under another campaign name, not with holdout={holdout:g}, seed={seed}. Nothing was sent"
        )


def _arms(db: sqlite3.Connection, ours: Mapping[str, object]) -> dict[int, Arm]:
    rows = db.execute(
        """
        SELECT row, arm = 'hold', assigned_at FROM asked CROSS JOIN assignments
        ON brand_id = :brand AND campaign = :campaign AND assignments.openid = asked.openid
        """,
        ours,
    )
    return {row: Arm(bool(held_out), datetime.fromisoformat(at)) for row, held_out, at in rows}


@contextmanager
def _asked_table(journal: Journal, asked: Sequence[Asked]) -> Iterator[sqlite3.Connection]:
    with journal.reading() as db:
        db.execute("CREATE TEMP TABLE asked (row INTEGER PRIMARY KEY, openid TEXT, number TEXT, code TEXT)")
        try:
            db.executemany(
                "INSERT INTO asked VALUES (?, ?, ?, ?)",
                ((each.row, each.openid, each.number, each.code) for each in asked),
            )
            db.execute("CREATE INDEX temp.asked_by_code ON asked (code) WHERE code IS NOT NULL")
            yield db
        finally:
            db.execute("DROP TABLE temp.asked")
