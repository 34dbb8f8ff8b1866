"""The exam of general text: what a model was good at before it learned a stream, and whether it still is.

A stream's own losses fall while the model forgets everything else. So a file of other text (or of other
pairs) is scored by the model as it was before it learned anything, once, and at the end of each sitting.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from everlearn.journal.durable_files import write_json
from everlearn.learning.run_learner import RunLearner
from everlearn.tasks.texts.held_out import LossHeldOut
from everlearn.types import Json

__all__ = ["GeneralText"]


class GeneralText:
    """Scores a file before and after learning.

    Args:
        held_out: The file.
    """

    def __init__(self, held_out: LossHeldOut) -> None:
        self._held_out = held_out
        self._before: Mapping[str, Json] | None = None

    def begin(self, fresh: RunLearner, path: Path) -> None:
        """Score the model that has learned nothing, unless a file says what it lost on this text.

        Args:
            fresh: The run's learner as it was made.
            path: The file.

        Raises:
            StorageError: The file cannot be written.
        """
        sha256 = self._held_out.sha256()
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):  # the first time, or damaged: measured anew
            known = None
        if isinstance(known, Mapping) and known.get("sha256") == sha256 and "bits_per_byte" in known:
            self._before = known
            return
        self._before = {"sha256": sha256, "bits_per_byte": self._score(fresh)}
        write_json(path, dict(self._before))

    def figures(self, learner: RunLearner) -> dict[str, Json]:
        """``general_bits_per_byte`` of now, ``general_bits_per_byte_before`` and the change in per cent."""
        assert self._before is not None, "begin first"
        before, now = self._before["bits_per_byte"], self._score(learner)
        change = 100.0 * (float(now) / float(before) - 1.0) if before and now is not None else None
        return {
            "general_bits_per_byte_before": before,
            "general_bits_per_byte": now,
            "general_change_percent": change,
        }

    def _score(self, learner: RunLearner) -> Json:
        return self._held_out.losses(learner)["bits_per_byte"]
