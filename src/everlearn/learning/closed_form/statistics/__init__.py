"""What the closed-form learner remembers: integers by class, and a bounded sample.

A further statistic is a ``ClassStatistic`` in a file of its own, and a place in ``Statistics``.
"""

from __future__ import annotations

from everlearn.learning.closed_form.statistics.statistics import Statistics

__all__ = ["Statistics"]
