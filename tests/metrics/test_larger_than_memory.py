"""What does not fit in memory is counted all the same: DuckDB spills to disk, within the limit its connection was set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from tests.benchmarks.state_breakdown import generate, measured
from wxcoupon_analytics.metrics import state_breakdown

pytestmark = pytest.mark.slow

ROWS, LIMIT = 5_000_000, "200MB"
COUPONS = (ROWS - 1) * 10 // 11 + 1  # the generated rows are of this many


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("large") / "user_coupons.parquet"
    generate(path, ROWS)
    yield path
    path.unlink()


def test_the_latest_row_of_every_coupon_spills_within_the_callers_limit(stored: Path) -> None:
    found = measured(stored, deduplicate=True, memory_limit=LIMIT)
    assert found["coupons"] == COUPONS
    assert found["spilled_mb"] > 100
    assert found["peak_mb"] < 500  # without the limit it is 1,000


def test_it_would_not_fit_without_spilling(stored: Path) -> None:
    connection = duckdb.connect(config={"memory_limit": LIMIT, "threads": 2, "temp_directory": ""})
    with pytest.raises(duckdb.OutOfMemoryException):
        state_breakdown(connection.from_parquet(str(stored)))


def test_rows_that_need_no_comparing_stream_through(stored: Path) -> None:
    found = measured(stored, deduplicate=False)
    assert found["coupons"] == ROWS
    assert found["spilled_mb"] == 0
    assert found["peak_mb"] < 400
