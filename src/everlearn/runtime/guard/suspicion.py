"""What an example is for: to be learned, or to examine on, or to be looked at first."""

from __future__ import annotations

from everlearn.journal.records import Flag, Role
from everlearn.settings import GuardSettings
from everlearn.tasks.exam_rows import hash_share
from everlearn.types import Example, Prediction

__all__ = ["role_of"]


def role_of(
    example: Example, prediction: Prediction, settings: GuardSettings, *, group: str
) -> tuple[Role, Flag | None]:
    """The role of a new example, and a flag where it looks suspicious.

    Args:
        example: The example, with its target if that is known.
        prediction: What was said of it.
        settings: The guard's. Where it is not enabled, everything is learned.
        group: What has the same role as a whole: the example, or a document that comes in pieces.

    Returns:
        The flag's offset is 0; the caller knows the right one.
    """
    if not settings.enabled:
        return "learn", None
    if hash_share(group, "exam") < settings.share:
        return "exam", None
    flag = _suspicion(example, prediction, settings)
    if flag is None or settings.suspicious == "flag":
        return "learn", flag
    if settings.suspicious == "hold":
        return "held", flag
    is_learned = hash_share(example.id, "weight") < settings.weight
    return "learn" if is_learned else "thinned", flag


def _suspicion(example: Example, prediction: Prediction, settings: GuardSettings) -> Flag | None:
    if settings.suspicious == "off" or example.target is None:
        return None
    # A label that was not known can only be contradicted; it is news, and not suspicious.
    contradicts = prediction.label != example.target and example.target in prediction.labels
    if contradicts and prediction.confidence >= settings.confidence:
        return Flag(0, "contradiction", prediction.confidence, settings.suspicious)
    score = prediction.outlier_score
    if settings.leverage is not None and score is not None and score >= settings.leverage:
        return Flag(0, "leverage", score, settings.suspicious)
    return None
