"""Consolidation: a trunk tuned on what was learned, below which the head is folded anew."""

from __future__ import annotations

from everlearn.learning.consolidation.config import ConsolidationConfig
from everlearn.learning.consolidation.network import require_peft
from everlearn.learning.consolidation.tuning import EpochReport, TrunkTuning

__all__ = ["ConsolidationConfig", "EpochReport", "TrunkTuning", "require_peft"]
