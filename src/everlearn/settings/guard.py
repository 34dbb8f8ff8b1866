"""What decides whether a candidate is served."""

from __future__ import annotations

from typing import Literal

from everlearn.settings.conditions import GUARDED, OF_LABELS, Condition, is_not, is_one_of
from everlearn.settings.section import EVERY_TASK, Section, setting

__all__ = ["GuardSettings"]

_SUSPICIOUS = "guard.suspicious"
_LABELS = (*OF_LABELS, *GUARDED)
_CONFIDENT = Condition(_SUSPICIOUS, lambda values: values[_SUSPICIOUS] != "off" or values["guard.surprise"])


class GuardSettings(Section, panel="Guard"):
    """What decides whether a candidate is served."""

    enabled: bool = setting(False, "--guard", shown_for=EVERY_TASK)
    """Serve a version only if it is not worse than the one before. A share of the stream is held back to test
    candidates. If a candidate is worse, what it learned since is set aside."""
    share: float = setting(0.05, "--guard-share", "SHARE", gt=0.0, lt=1.0, needs=GUARDED)
    """Share of the stream that is held back, never learned."""
    # Documents take longer to read than the labels of texts to predict.
    every: int = setting(10_000, "--guard-every", "N", ge=1, own_defaults={"lm": 1_000}, needs=GUARDED)
    """Examples between two candidates."""
    seconds: float | None = setting(
        None, "--guard-seconds", "SECONDS", gt=0.0, default_text="never", needs=GUARDED
    )
    """Examine a candidate after so many seconds too."""
    # A weight changes every loss a little; two hundredths are what a new subject may cost the old ones.
    tolerance: float = setting(
        0.0,
        "--guard-tolerance",
        "DROP",
        ge=0.0,
        lt=1.0,
        own_defaults={"lm": 0.02, "seq2seq": 0.02},
        needs=GUARDED,
    )
    """Accept a drop in accuracy up to this (0.01: one point); of texts, a relative rise of the loss."""
    level: float = setting(0.01, "--guard-level", "P", gt=0.0, lt=1.0, needs=GUARDED)
    """Reject if the probability of such a drop by chance is below P."""
    test: Literal["mcnemar", "bootstrap"] = setting("mcnemar", unit="NAME", needs=GUARDED)
    """How that probability is found: mcnemar or bootstrap."""
    recent: int = setting(1_000, unit="N", ge=1, own_defaults={"lm": 100}, needs=GUARDED)
    """Examples, or documents, of the exam on the most recent past."""
    long_term: int = setting(2_000, unit="N", ge=1, own_defaults={"lm": 200}, needs=GUARDED)
    """The same of the exam on everything so far, balanced over classes and domains."""
    surprise: bool = setting(True, needs=_LABELS)
    """Also reject what contradicts the learner far more often than usual and does not improve it."""
    suspicious: Literal["flag", "weigh", "hold", "off"] = setting(
        "flag", "--suspicious", "POLICY", needs=_LABELS
    )
    """Examples that contradict a confident prediction: flag them, weigh them (learn a quarter), hold them for
    review, or off."""
    confidence: float = setting(0.9, unit="P", gt=0.0, le=1.0, needs=(*_LABELS, _CONFIDENT))
    """From this probability on a prediction is confident."""
    leverage: float | None = setting(
        None, unit="FACTOR", gt=0.0, needs=(*_LABELS, is_not(_SUSPICIOUS, "off"))
    )
    """An outlier score from which on an example is suspicious too."""
    weight: float = setting(
        0.25, unit="SHARE", ge=0.0, le=1.0, needs=(*_LABELS, is_one_of(_SUSPICIOUS, "weigh"))
    )
    """With weigh: the share of suspicious examples that is learned, chosen by the hash of the id."""
    readmit: bool = setting(True, needs=_LABELS)
    """Learn what was set aside after all, once a later accepted version agrees with it."""
