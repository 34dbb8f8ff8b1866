"""How well a run learns: prequential scores, matrices of forgetting, the reports."""

from __future__ import annotations

from everlearn.evaluation.matrix import AccuracyMatrix
from everlearn.evaluation.metrics import METRICS_SCHEMA, MetricsLog, MetricsRow
from everlearn.evaluation.prequential import PrequentialScores
from everlearn.evaluation.report.labels import report_html
from everlearn.evaluation.report.page import write_page
from everlearn.evaluation.report.reported_run import ReportedRun
from everlearn.evaluation.report.texts import language_report_html
from everlearn.evaluation.scores import expected_calibration_error, macro_f1
from everlearn.evaluation.text_metrics import TEXT_METRICS_SCHEMA, TextMetricsLog, TextMetricsRow
from everlearn.evaluation.text_scores import DomainMatrix, TextScores, bits_per_byte
from everlearn.evaluation.translation_scores import TranslationScores

__all__ = [
    "METRICS_SCHEMA",
    "TEXT_METRICS_SCHEMA",
    "AccuracyMatrix",
    "DomainMatrix",
    "MetricsLog",
    "MetricsRow",
    "PrequentialScores",
    "ReportedRun",
    "TextMetricsLog",
    "TextMetricsRow",
    "TextScores",
    "TranslationScores",
    "bits_per_byte",
    "expected_calibration_error",
    "language_report_html",
    "macro_f1",
    "report_html",
    "write_page",
]
