"""The report of a run: one HTML file with charts that needs nothing else, not even a network."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from plotly.offline import get_plotlyjs

from everlearn.errors import StorageError
from everlearn.evaluation.matrix import AccuracyMatrix
from everlearn.evaluation.report_charts import Chart, stream_charts
from everlearn.evaluation.report_confusion import confused_pairs, confusion_chart, pairs_table
from everlearn.evaluation.report_decisions import decisions_section
from everlearn.evaluation.report_matrix import matrix_chart
from everlearn.evaluation.report_text import (
    NO_BREAK_SPACE,
    count,
    duration,
    flat,
    html_text,
    json_for_script,
    percent,
)
from everlearn.types import Json

__all__ = ["report_html", "write_report"]

Confusion = tuple[Sequence[str], npt.NDArray[np.int64]]


def _points(fraction: float) -> str:
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    points = round(100 * fraction, 1) + 0.0
    return f"{points:.1f}{NO_BREAK_SPACE}pp".replace("-", "−")


# key of the summary, words on the card, format, explanation on hover
_CARDS: tuple[tuple[str, str, Callable[[float], str], str], ...] = (
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

# The policy makes browsers refuse any request, so the page cannot reach out even by mistake.
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; \
style-src 'unsafe-inline'; img-src data: blob:">
<title>{title}</title>
<style>
{style}
</style>
</head>
<body>
<main>
<header><p class="brand">everlearn</p><h1><bdi>{title}</bdi></h1></header>
<noscript><p class="notice">The charts need JavaScript; the figures do not.</p></noscript>
{body}
</main>
<script type="application/json" id="figures">{figures}</script>
<script>{plotly}</script>
<script>
{script}
</script>
</body>
</html>
"""


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
        confusion: Labels (C) and int64 counts (C, C), rows targets, columns predictions.
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
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", errors="replace") as file:
            file.write(page)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StorageError(f"the report {target} cannot be written: {error.strerror or error}") from error


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
    sections = [_cards(summary), _notes(notes), _stream_section(metrics, charts)]
    if matrix is not None:
        sections.append(_experience_section(matrix, charts))
    if confusion is not None:
        sections.append(_confusion_section(*confusion, charts))
    sections.append(decisions_section(decisions))
    sections.append(_folded("All figures", summary))
    sections.append(_folded("Configuration", config or {}))
    folder = files("everlearn.evaluation")
    return _PAGE.format(
        title=html_text(title),
        style=folder.joinpath("report.css").read_text("utf-8"),
        body="\n".join(section for section in sections if section),
        figures=json_for_script({chart.id: dict(chart.figure) for chart in charts}),
        plotly=get_plotlyjs(),
        script=folder.joinpath("report.js").read_text("utf-8"),
    )


def _cards(summary: Mapping[str, Json]) -> str:
    cards = []
    for key, name, shown, hint in _CARDS:
        value = summary.get(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            continue
        if key == "rejected" and value == 0:
            continue
        cards.append(
            f'<div class="card" title="{html_text(hint)}"><dt>{name}</dt><dd>{shown(value)}</dd></div>'
        )
    fingerprint = summary.get("fingerprint")
    if fingerprint:
        cards.append(
            f'<div class="card" title="{html_text(fingerprint)}"><dt>fingerprint</dt>'
            f'<dd class="code" tabindex="0">{html_text(str(fingerprint)[:10])}…</dd></div>'
        )
    return f'<dl class="cards">{"".join(cards)}</dl>' if cards else ""


def _notes(notes: Sequence[str]) -> str:
    items = "".join(f"<li>{html_text(note)}</li>" for note in notes)
    return f'<section class="notice"><h2>Notes</h2><ul>{items}</ul></section>' if items else ""


def _stream_section(metrics: pa.Table, charts: list[Chart]) -> str:
    shown = stream_charts(metrics)
    charts += shown
    return f'<section class="grid">{"".join(map(_figure, shown))}</section>' if shown else ""


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
    return f'<section class="grid">{_figure(chart)}{aside}</section>'


def _confusion_section(labels: Sequence[str], counts: npt.NDArray[np.int64], charts: list[Chart]) -> str:
    parts = []
    chart = confusion_chart(labels, counts)
    if chart is not None:
        charts.append(chart)
        parts.append(_figure(chart))
    pairs = confused_pairs(labels, counts, 20 if len(labels) > 30 else 10)
    if pairs:
        parts.append(
            '<div class="panel side"><h2>Most confused pairs</h2>'
            '<p class="caption">Examples of one class that were predicted as another.</p>'
            f"{pairs_table(pairs)}</div>"
        )
    return f'<section class="grid">{"".join(parts)}</section>' if parts else ""


def _figure(chart: Chart) -> str:
    legend = "".join(
        f'<li><span class="key {dash}" style="border-color:var(--{colour[1:]})"></span>{name}</li>'
        for name, colour, dash in chart.legend
    )
    scale = (
        f'<p class="scale"><span>{chart.scale[0]}</span><i></i><span>{chart.scale[1]}</span></p>'
        if chart.scale
        else ""
    )
    sizes = (
        f"--height:{chart.height}px;--narrow-height:{chart.narrow_height}px;--min-width:{chart.min_width}px"
    )
    return (
        f'<figure class="panel {chart.size}" style="{sizes}"><figcaption><h2>{html_text(chart.title)}</h2>'
        f'<p class="caption">{html_text(chart.caption)}</p>'
        f"{f'<ul class=legend>{legend}</ul>' if legend else ''}{scale}</figcaption>"
        f'<div class="scroll"><div class="plot" id="{chart.id}" role="img" '
        f'aria-label="{html_text(chart.title)}"></div></div></figure>'
    )


def _folded(title: str, data: Mapping[str, Json]) -> str:
    rows = "".join(
        f"<tr><th>{html_text(key)}</th><td>{html_text(value)}</td></tr>" for key, value in flat(data)
    )
    if not rows:
        return ""
    return (
        f'<details class="panel"><summary>{title}</summary>'
        f'<table class="settings"><tbody>{rows}</tbody></table></details>'
    )
