"""What every group of actions stands on: the API, the journal that knows what was done with it, and the runner of both."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from wxcoupon_analytics.actions.intent import Intent
from wxcoupon_analytics.actions.journal import Journal
from wxcoupon_analytics.actions.runner import Runner
from wxcoupon_analytics.api import Api
from wxcoupon_analytics.errors import ValidationError


class Once:
    """What every action stands on; ``now`` is business time."""

    def __init__(self, api: Api, journal: Journal, *, now: Callable[[], datetime]) -> None:
        self._api = api
        self._journal = journal
        self._now = now
        self._runner = Runner(api, journal)

    def _act(self, intent: Intent, check: Callable[[], dict[str, Any] | None]) -> dict[str, Any]:
        """Do what is meant once: see :meth:`Runner.one`."""
        return self._runner.one(intent, check)


def not_texts(**values: object) -> list[str]:
    """Name the arguments that are no non-empty text."""
    return [
        # What is neither is not shown: an openid may be in it.
        f"{name} must be a non-empty text, not "
        + (repr(value) if value is None or isinstance(value, str | float | int) else type(value).__name__)
        for name, value in values.items()
        if not isinstance(value, str) or not value.strip()
    ]


def refuse(problems: list[str]) -> None:
    """Raise all problems at once, if there are any."""
    if problems:
        raise ValidationError("; ".join(problems) + ". Nothing was sent")
