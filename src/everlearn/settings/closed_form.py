"""Sizes of the closed-form learner."""

from __future__ import annotations

from everlearn.settings.conditions import CLOSED_FORM, is_not, is_one_of
from everlearn.settings.section import Section, setting

__all__ = ["ClosedFormSettings"]

_NO_BUDGET = (is_one_of("learner.memory_budget", None),)


class ClosedFormSettings(Section, panel="Learner", needs=CLOSED_FORM):
    """Sizes of the closed-form learner."""

    num_features: int = setting(5120, "--features", "M", ge=64, le=32_768, needs=_NO_BUDGET)
    """Features of the closed-form head; its statistics take about 4·M² bytes, a full solve M³/3
    multiplications."""
    gram_bits: int = setting(20, unit="N", ge=8, le=24, needs=(*_NO_BUDGET, is_not("task", "multilabel")))
    """Word 1-2-grams are hashed into 2^N columns for naive Bayes."""
    max_classes: int = setting(10_000, "--max-classes", "N", ge=1, le=1_000_000, shown_for=("multilabel",))
    """Records with a label beyond so many are rejected; may be changed later."""
    sample_size: int = setting(1024, unit="N", ge=16, le=65_536)
    """Examples on which λ, mixture, calibration and outlier threshold are chosen by leave-one-out."""
    outlier_quantile: float = setting(0.95, unit="SHARE", ge=0.5, le=0.9999)
    """The outlier threshold is this quantile of the sample's leave-one-out leverages."""
    refresh_growth: float = setting(2.0, unit="FACTOR", ge=1.01, le=100.0)
    """λ, mixture and outlier threshold are chosen anew when the examples have grown by this factor; up to
    2,048 examples by at most 1.5."""
