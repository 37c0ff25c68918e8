"""A Spark cluster of this one machine, for the tests marked slow: a real JVM, real shuffles, no network."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def local_session(*, time_zone: str = "America/New_York", memory: str = "1g") -> SparkSession:
    """Start the session, or give the one that runs: a process has one JVM, and it takes ten seconds to come up.

    Its time zone is neither Beijing's nor UTC, so that a day cut in the session's zone shows as a wrong day.
    """
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable  # the workers' Python is this one, not the PATH's
    session = (
        SparkSession.builder.master("local[2]")
        .appName("wxcoupon-analytics tests")
        .config("spark.driver.memory", memory)
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.sql.session.timeZone", time_zone)
        .config("spark.sql.execution.arrow.pyspark.enabled", "true")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    return session
