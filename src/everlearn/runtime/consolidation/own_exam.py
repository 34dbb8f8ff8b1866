"""The exam of a candidate's own: is the head on the tuned trunk better at what the trunk was not tuned on?"""

from __future__ import annotations

import math

from everlearn.evaluation.paired import PairedComparison, compare_paired
from everlearn.learning.closed_form import SampleScores
from everlearn.settings import GuardSettings

__all__ = ["take_own_exam"]

_STANDARD_ERRORS = 1.645  # chance alone gives such a fall once in twenty


def take_own_exam(
    live: SampleScores, candidate: SampleScores, settings: GuardSettings, *, is_replacement: bool
) -> tuple[PairedComparison, list[str]]:
    """Compare two heads on the learner's sample.

    Args:
        live: Scores of the head in use.
        candidate: Scores of the one on the tuned trunk.
        settings: What may be lost, and by which test.
        is_replacement: It need only be no worse.

    Returns:
        The accuracies compared, and the reasons against the candidate.
    """
    assert list(live.ids) == list(candidate.ids), "the sample is a function of the ids"
    own = compare_paired(
        live.is_right_S, candidate.is_right_S, tolerance=settings.tolerance, test=settings.test
    )
    reasons = []
    falls_S = live.log_losses_S - candidate.log_losses_S
    error = float(falls_S.std(ddof=1)) / math.sqrt(len(falls_S))
    if falls_S.mean() <= (-1 if is_replacement else 1) * _STANDARD_ERRORS * error:
        what = "clearly rises" if is_replacement else "does not clearly fall"
        reasons.append(
            f"own exam: log loss {what} ({live.log_loss:.4f}, then {candidate.log_loss:.4f}; standard "
            f"error of the change {error:.4f}) on {own.num_examples:,} examples that it was not tuned on"
        )
    if own.p_value < settings.level and own.drop > 0:
        reasons.append(
            f"own exam: accuracy falls from {own.live_accuracy:.1%} to {own.candidate_accuracy:.1%} "
            f"(p = {own.p_value:.2g})"
        )
    return own, reasons
