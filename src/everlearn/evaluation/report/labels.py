"""The report of a run: one HTML file with charts that needs nothing else, not even a network."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import pyarrow as pa

from everlearn.evaluation.confusion import Confusion
from everlearn.evaluation.matrix import AccuracyMatrix
from everlearn.evaluation.report.charts import Chart, stream_charts
from everlearn.evaluation.report.confusion import confused_pairs, confusion_chart, pairs_table
from everlearn.evaluation.report.decisions import decisions_section
from everlearn.evaluation.report.matrix import matrix_chart
from everlearn.evaluation.report.page import (
    Card,
    cards_section,
    figure_html,
    folded_section,
    notes_section,
    page_html,
    write_page,
)
from everlearn.evaluation.report.words import NO_BREAK_SPACE, count, duration, percent
from everlearn.types import Json

__all__ = ["report_html", "write_report"]


def _points(fraction: float) -> str:
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    points = round(100 * fraction, 1) + 0.0
    return f"{points:.1f}{NO_BREAK_SPACE}pp".replace("-", "−")


_CARDS: tuple[Card, ...] = (
    ("prequential_accuracy", "prequential accuracy", percent, "each batch predicted before it was learned"),
    ("test_accuracy", "test accuracy", percent, "on the held-out test set, at the end"),
    ("average_accuracy", "average accuracy", percent, "mean over the experiences' held-out sets, at the end"),
    ("forgetting", "forgetting", _points, "mean drop from the best accuracy of each experience, in points"),
    ("examples", "examples", count, "examples of the stream"),
    ("rejected", "rejected", count, "records that could not be read; see rejected.jsonl"),
    ("classes", "classes", count, "labels known at the end"),
    ("examples_per_second", "examples/s", count, "predicted and learned, over the whole run"),
    ("seconds", "time", duration, "wall-clock time of the run"),
    ("peak_memory_mb", "peak memory", lambda mb: f"{mb:,.0f}{NO_BREAK_SPACE}MB", "resident memory"),
)


def write_report(
    path: str | os.PathLike[str],
    *,
    title: str,
    summary: Mapping[str, Json],
    metrics: pa.Table,
    confusion: Confusion | None = None,
    matrix: AccuracyMatrix | None = None,
    config: Mapping[str, Json] | None = None,
    notes: Sequence[str] = (),
    decisions: Sequence[Mapping[str, Json]] = (),
) -> None:
    """Write the report; an older one at the same place is replaced at once or not at all.

    Args:
        path: The HTML file.
        title: Title of the run.
        summary: Figures of the whole run. These have a card, where they are not None: fractions
            ``prequential_accuracy, test_accuracy, average_accuracy, forgetting``; counts ``examples,
            rejected, classes``; ``examples_per_second``, ``seconds``, ``peak_memory_mb``,
            ``fingerprint``. All are listed in a table.
        metrics: Table with the columns of ``METRICS_SCHEMA``; missing ones are passed over.
        confusion: What was taken for what.
        matrix: Accuracy by experience.
        config: Settings of the run, nested or flat.
        notes: Sentences that the reader should know.
        decisions: Of the guard; see ``report_decisions.decisions_section``.

    Raises:
        StorageError: The file cannot be written.
    """
    page = report_html(
        title=title,
        summary=summary,
        metrics=metrics,
        confusion=confusion,
        matrix=matrix,
        config=config,
        notes=notes,
        decisions=decisions,
    )
    write_page(path, page)


def report_html(
    *,
    title: str,
    summary: Mapping[str, Json],
    metrics: pa.Table,
    confusion: Confusion | None = None,
    matrix: AccuracyMatrix | None = None,
    config: Mapping[str, Json] | None = None,
    notes: Sequence[str] = (),
    decisions: Sequence[Mapping[str, Json]] = (),
) -> str:
    """The page that ``write_report`` writes. The same arguments give the same page."""
    charts: list[Chart] = []
    sections = [cards_section(summary, _CARDS), notes_section(notes), _stream_section(metrics, charts)]
    if matrix is not None:
        sections.append(_experience_section(matrix, charts))
    if confusion is not None:
        sections.append(_confusion_section(confusion, charts))
    sections.append(decisions_section(decisions))
    sections.append(folded_section("All figures", summary))
    sections.append(folded_section("Configuration", config or {}))
    return page_html(title, sections, charts)


def _stream_section(metrics: pa.Table, charts: list[Chart]) -> str:
    shown = stream_charts(metrics)
    charts += shown
    return f'<section class="grid">{"".join(map(figure_html, shown))}</section>' if shown else ""


def _experience_section(matrix: AccuracyMatrix, charts: list[Chart]) -> str:
    chart = matrix_chart(matrix)
    if chart is None:
        return ""
    charts.append(chart)
    measures = (
        ("average accuracy", matrix.average_accuracy, percent, "mean over all experiences learned so far"),
        ("forgetting", matrix.forgetting, _points, "mean drop from each experience's best accuracy"),
        ("backward transfer", matrix.backward_transfer, _points, "mean change since each was learned"),
        (
            "forward transfer",
            matrix.forward_transfer,
            _points,
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
