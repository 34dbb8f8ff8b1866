"""What is chosen on the sample where an example may have several labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from everlearn.learning.closed_form.label_sets.calibration import Calibration, calibration_from_json
from everlearn.learning.closed_form.shrinkage import Shrinkage
from everlearn.types import Json

__all__ = ["SetSettings", "set_settings_from_json"]


@dataclass(frozen=True, slots=True)
class SetSettings:
    """What was chosen on the sample; as ``solution.Settings``.

    Attributes:
        strength: λ in units of the mean squared norm of an example.
        calibration: Probabilities and thresholds.
        outlier_threshold: Leverage above which an input is called an outlier.
        sketch_weight: See ``Shrinkage``.
        live_outlier_threshold: As of ``solution.Settings``.
    """

    strength: float
    calibration: Calibration
    outlier_threshold: float
    sketch_weight: float
    live_outlier_threshold: float | None = None

    @property
    def shrinkage(self) -> Shrinkage:
        """Of the ridge expert."""
        return Shrinkage(self.strength, self.sketch_weight)

    def for_live(self) -> SetSettings:
        """The same for a live predictor."""
        threshold = self.live_outlier_threshold
        return self if threshold is None else replace(self, outlier_threshold=threshold)


def set_settings_from_json(data: Mapping[str, Json]) -> SetSettings:
    """From what ``asdict`` made of them."""
    return SetSettings(
        strength=float(data["strength"]),
        calibration=calibration_from_json(data["calibration"]),
        outlier_threshold=float(data["outlier_threshold"]),
        sketch_weight=float(data["sketch_weight"]),
        live_outlier_threshold=data.get("live_outlier_threshold"),
    )
