"""Learners: states that predict, learn and forget."""

from __future__ import annotations

from everlearn.learning.closed_form import ClosedFormConfig, ClosedFormLearner, Coder

__all__ = ["ClosedFormConfig", "ClosedFormLearner", "Coder"]
