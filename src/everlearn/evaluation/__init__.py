"""How well a run learns: prequential scores, the accuracy matrix, delayed targets, the report."""

from __future__ import annotations

from everlearn.evaluation.delayed import DelayedTargets
from everlearn.evaluation.matrix import AccuracyMatrix
from everlearn.evaluation.metrics import METRICS_SCHEMA, MetricsLog, MetricsRow
from everlearn.evaluation.prequential import PrequentialScores
from everlearn.evaluation.report import report_html, write_report
from everlearn.evaluation.scores import expected_calibration_error, macro_f1

__all__ = [
    "METRICS_SCHEMA",
    "AccuracyMatrix",
    "DelayedTargets",
    "MetricsLog",
    "MetricsRow",
    "PrequentialScores",
    "expected_calibration_error",
    "macro_f1",
    "report_html",
    "write_report",
]
