"""The report of a run: one HTML file with charts that needs nothing else, not even a network."""

from __future__ import annotations

from everlearn.evaluation.confusion import Confusion
from everlearn.evaluation.matrix import AccuracyMatrix
from everlearn.evaluation.report.charts import Chart
from everlearn.evaluation.report.comparison import comparison_section, with_courses
from everlearn.evaluation.report.confusion import confused_pairs, confusion_chart, pairs_table
from everlearn.evaluation.report.label_charts import label_charts
from everlearn.evaluation.report.matrix import matrix_chart
from everlearn.evaluation.report.page import Card, figure_html
from everlearn.evaluation.report.reported_run import ReportedRun, run_page
from everlearn.evaluation.report.words import NO_BREAK_SPACE, count, duration, percent, points

__all__ = ["report_html"]


_CARDS: tuple[Card, ...] = (
    ("prequential_accuracy", "prequential accuracy", percent, "each batch predicted before it was learned"),
    ("test_accuracy", "test accuracy", percent, "on the held-out test set, at the end"),
    ("average_accuracy", "average accuracy", percent, "mean over the experiences' held-out sets, at the end"),
    ("forgetting", "forgetting", points, "mean drop from the best accuracy of each experience, in points"),
    ("examples", "examples", count, "examples of the stream"),
    ("rejected", "rejected", count, "records that could not be read; see rejected.jsonl"),
    ("classes", "classes", count, "labels known at the end"),
    ("examples_per_second", "examples/s", count, "predicted and learned, over the whole run"),
    ("seconds", "time", duration, "wall-clock time of the run"),
    ("peak_memory_mb", "peak memory", lambda mb: f"{mb:,.0f}{NO_BREAK_SPACE}MB", "resident memory"),
)


def report_html(
    run: ReportedRun, *, confusion: Confusion | None = None, matrix: AccuracyMatrix | None = None
) -> str:
    """The page of a classifier's run. The same arguments give the same page.

    Args:
        run: These figures of its summary have a card: fractions ``prequential_accuracy, test_accuracy,
            average_accuracy, forgetting``; counts ``examples, rejected, classes``; ``examples_per_second``,
            ``seconds``, ``peak_memory_mb``, ``fingerprint``. Its metrics have the columns of
            ``METRICS_SCHEMA``.
        confusion: What was taken for what.
        matrix: Accuracy by experience.
    """
    charts: list[Chart] = []
    sections = [comparison_section(run)]
    if matrix is not None:
        sections.append(_experience_section(matrix, charts))
    if confusion is not None:
        sections.append(_confusion_section(confusion, charts))
    return run_page(run, _CARDS, label_charts(with_courses(run.metrics, run.comparison)), sections, charts)


def _experience_section(matrix: AccuracyMatrix, charts: list[Chart]) -> str:
    chart = matrix_chart(matrix)
    if chart is None:
        return ""
    charts.append(chart)
    measures = (
        ("average accuracy", matrix.average_accuracy, percent, "mean over all experiences learned so far"),
        ("forgetting", matrix.forgetting, points, "mean drop from each experience's best accuracy"),
        ("backward transfer", matrix.backward_transfer, points, "mean change since each was learned"),
        (
            "forward transfer",
            matrix.forward_transfer,
            points,
            "mean accuracy on the next experience before it is learned, above the untrained model's",
        ),
    )
    items = "".join(
        f"<div><dt>{name}</dt><dd>{shown(value)}</dd><p>{hint}</p></div>"
        for name, value, shown, hint in measures
        if value is not None
    )
    aside = (
        f'<aside class="panel side"><h2>Forgetting and transfer</h2><dl class="measures">{items}</dl>'
        '<p class="caption">pp: percentage points</p></aside>'
    )
    return f'<section class="grid">{figure_html(chart)}{aside}</section>'


def _confusion_section(confusion: Confusion, charts: list[Chart]) -> str:
    parts = []
    chart = confusion_chart(confusion)
    if chart is not None:
        charts.append(chart)
        parts.append(figure_html(chart))
    pairs = confused_pairs(confusion, 20 if len(confusion.labels) > 30 else 10)
    if pairs:
        parts.append(
            '<div class="panel side"><h2>Most confused pairs</h2>'
            '<p class="caption">Examples of one class that were predicted as another.</p>'
            f"{pairs_table(pairs)}</div>"
        )
    return f'<section class="grid">{"".join(parts)}</section>' if parts else ""
