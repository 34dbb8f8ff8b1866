"""When the live predictor is made anew while a stream is learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from everlearn.learning.closed_form.config import ClosedFormConfig
from everlearn.learning.closed_form.label_sets.settings import SetSettings, set_settings_from_json
from everlearn.learning.closed_form.solution import DueSolve, Settings, settings_from_json
from everlearn.types import Json

__all__ = ["AnySettings", "SolveSchedule", "any_settings_from_json", "settings_to_json"]

MOST_ROWS = 1024
"""Rows behind a base of many examples: each costs more the more there are, and a base is dear."""
_FEW_EXAMPLES = 2048  # up to here each example counts and solves are small, so they are made more often
_GROWTH_OF_FEW = 1.5


AnySettings = Settings | SetSettings


class SolveSchedule:
    """Decides when settings are chosen, and when rows become part of a base.

    Args:
        config: Sizes and growth.

    Attributes:
        settings: That were chosen last.
    """

    def __init__(self, config: ClosedFormConfig) -> None:
        self._config = config
        self.settings: AnySettings | None = None
        self._chosen_examples = 0
        self._chosen_labels = 0

    def due(self, num_examples: int, num_labels: int, num_rows: int | None) -> DueSolve[Any] | None:
        """What to solve now, if anything.

        Args:
            num_examples: Examples learned.
            num_labels: Labels learned.
            num_rows: Rows that the live predictor has or is to get behind its base; None: there is no such
                predictor, or it cannot go on.
        """
        growth = self._config.refresh_growth
        if num_examples <= _FEW_EXAMPLES:
            growth = min(growth, _GROWTH_OF_FEW)
        # Settings of one label say nothing of several; while there is one, there is nothing to choose.
        near = self.settings if self._chosen_labels > 1 or self._chosen_labels == num_labels else None
        if near is None or num_examples >= growth * self._chosen_examples:
            is_news = num_rows is None or num_examples != self._chosen_examples
            return DueSolve(near=near) if is_news else None
        return DueSolve(keep=near) if num_rows is None or num_rows > MOST_ROWS else None

    def note(self, solve: DueSolve[Any], settings: AnySettings, num_examples: int, num_labels: int) -> None:
        """Take note of a solve that was made."""
        if solve.keep is None:
            self.settings = settings
            self._chosen_examples, self._chosen_labels = num_examples, num_labels

    def to_json(self) -> dict[str, Json]:
        """What must be kept so that the next solve comes when it would have come."""
        return {
            "settings": None if self.settings is None else settings_to_json(self.settings),
            "chosen_examples": self._chosen_examples,
            "chosen_labels": self._chosen_labels,
        }

    def restore(self, saved: Mapping[str, Json], settings: AnySettings | None) -> None:
        """The inverse of ``to_json``.

        Args:
            saved: What it gave.
            settings: Those of the solution that was saved with it: earlier formats have them only there.
        """
        own = saved.get("settings")
        self.settings = settings if own is None else any_settings_from_json(own)
        self._chosen_examples = int(saved.get("chosen_examples", saved.get("solved_examples", 0)))
        self._chosen_labels = int(saved.get("chosen_labels", len(saved.get("solved_labels", ()))))


def settings_to_json(settings: AnySettings) -> dict[str, Json]:
    """Settings of either kind, for ``any_settings_from_json``."""
    return asdict(settings)


def any_settings_from_json(saved: Mapping[str, Json]) -> AnySettings:
    """The inverse of ``settings_to_json``."""
    return set_settings_from_json(saved) if "calibration" in saved else settings_from_json(saved)
