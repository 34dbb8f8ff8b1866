"""Charts of a language model's run: bits per byte by domain, translation scores, speed, gradients."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from everlearn.evaluation.report.charts import Chart, Line, StreamChart
from everlearn.evaluation.report.matrix import label_axis
from everlearn.evaluation.report.words import chart_text, shortened
from everlearn.evaluation.text_scores import DomainMatrix
from everlearn.types import Json

__all__ = ["domain_matrix_chart", "language_charts"]

_COLOURS = ("@blue", "@orange", "@green", "@plum", "@blue-soft")
_DASHES = ("solid", "dash")


def language_charts(metrics: pa.Table) -> list[Chart]:
    """The charts over the stream for which the table has figures; over bytes of text where it has them."""
    over = "bytes" if "bytes" in metrics.column_names and _highest(metrics, "bytes") else "examples"
    charts = [
        StreamChart(
            id="bits-per-byte",
            title="Bits per byte over the stream",
            caption="Each text is predicted before it is learned. Lower is better.",
            lines=[
                Line(column="rolling_bits_per_byte", name="recent text", colour="@blue-soft"),
                Line(column="bits_per_byte", name="all text so far", colour="@blue"),
            ],
            y_title="bits per byte",
            unit=" bits",
            number=".3f",
            size="full",
            height=340,
            over=over,
            y_from_zero=False,
        ).drawn(metrics),
        _domain_chart(metrics, over),
        StreamChart(
            id="translation",
            title="BLEU and chrF over the stream",
            caption="Each text is translated before its target is learned. Higher is better.",
            lines=[
                Line(column="rolling_bleu", name="BLEU, recent", colour="@blue-soft"),
                Line(column="bleu", name="BLEU so far", colour="@blue"),
                Line(column="rolling_chrf", name="chrF, recent", colour="@plum", dash="dash"),
                Line(column="chrf", name="chrF so far", colour="@orange", dash="dash"),
            ],
            y_title="BLEU, chrF (0 to 100)",
            unit="",
            size="full",
            height=340,
        ).drawn(metrics),
        StreamChart(
            id="loss",
            title="Training loss",
            caption="Of each step, replayed text included, before the update.",
            lines=[Line(column="loss", name="loss", colour="@blue")],
            y_title="loss (nats per token)",
            unit=" nats",
            number=".3f",
            over=over,
            y_from_zero=False,
        ).drawn(metrics),
        StreamChart(
            id="throughput",
            title="Throughput",
            caption="Tokens predicted and learned, batch by batch.",
            lines=[Line(column="tokens_per_second", name="tokens/s", colour="@blue")],
            y_title="tokens per second",
            unit=" tokens/s",
            number=",.0f",
            over=over,
        ).drawn(metrics),
        StreamChart(
            id="gradient-norm",
            title="Gradient norm",
            caption="Before clipping; the highest of the steps that share a point.",
            lines=[Line(column="gradient_norm", name="gradient norm", colour="@blue")],
            y_title="gradient norm",
            unit="",
            number=".3g",
            over=over,
        ).drawn(metrics),
        _skipped_chart(metrics, over),
        StreamChart(
            id="memory",
            title="Memory",
            caption="Resident memory of the process.",
            lines=[Line(column="memory_mb", name="memory", colour="@blue")],
            y_title="memory (MB)",
            unit=" MB",
            number=",.0f",
            over=over,
        ).drawn(metrics),
    ]
    return [chart for chart in charts if chart is not None]


def _highest(metrics: pa.Table, column: str) -> float:
    return max((value for value in metrics[column].to_pylist() if value is not None), default=0)


def _domain_chart(metrics: pa.Table, over: str) -> Chart | None:
    """A line a domain; None where the stream has not at least two."""
    if "domain_bits_per_byte" not in metrics.column_names:
        return None
    rows = [dict(row or ()) for row in metrics["domain_bits_per_byte"].to_pylist()]
    names = list(dict.fromkeys(name for row in rows for name in row))
    if len(names) < 2:
        return None
    # Those with most points: a domain has one in every row since its first text.
    styles = [(colour, dash) for dash in _DASHES for colour in _COLOURS]
    by_length = sorted(names, key=lambda name: -sum(name in row for row in rows))[: len(styles)]
    shown = [name for name in names if name in by_length]
    caption = "Each text is predicted before it is learned; the last text of each domain."
    if len(shown) < len(names):
        caption += f" The {len(shown)} longest of {len(names)} domains."
    table = metrics.select([over])
    lines = []
    for index, (name, (colour, dash)) in enumerate(zip(shown, styles, strict=False)):
        column = f"domain {index}"
        table = table.append_column(column, pa.array([row.get(name) for row in rows], pa.float64()))
        label = chart_text(shortened(name, 40))
        lines.append(Line(column=column, name=label, colour=colour, dash=dash))
    return StreamChart(
        id="domains",
        title="Bits per byte by domain",
        caption=caption,
        lines=lines,
        y_title="bits per byte",
        unit=" bits",
        number=".3f",
        size="full",
        height=340,
        over=over,
        y_from_zero=False,
    ).drawn(table)


def _skipped_chart(metrics: pa.Table, over: str) -> Chart | None:
    """Skipped steps so far; None while there are none."""
    if "skipped" not in metrics.column_names or not _highest(metrics, "skipped"):
        return None
    return StreamChart(
        id="skipped",
        title="Skipped steps",
        caption="Updates left out so far, because loss or gradients were not as they should be.",
        lines=[Line(column="skipped", name="skipped steps", colour="@blue", stepped=True)],
        y_title="skipped steps",
        unit=" steps",
        number=",.0f",
        over=over,
    ).drawn(metrics)


def domain_matrix_chart(matrix: DomainMatrix) -> Chart | None:
    """Bits per byte of each domain after each as a heat map, or None where nothing was measured."""
    values = [bits for row in matrix.values for bits in row if bits is not None]
    if not values:
        return None
    rows = ["(nothing)" if after is None else after for after in matrix.learned]
    columns = matrix.domains
    cells = [[None if bits is None else round(bits, 4) for bits in row] for row in matrix.values]
    is_small = len(columns) <= 16 and len(rows) <= 40
    text = [["" if v is None else f"{v:.2f}" for v in row] for row in cells] if is_small else None
    trace = {
        "type": "heatmap",
        "z": cells,
        "zmin": min(values),
        "zmax": max(values),
        "colorscale": "@heat",
        "showscale": False,
        "xgap": 1,
        "ygap": 1,
        "hoverongaps": False,
        "text": text,
        "texttemplate": "%{text}" if text else "",
        "textfont": {"size": 12 if len(columns) <= 12 else 10},
        "customdata": [[[chart_text(after), chart_text(on)] for on in columns] for after in rows],
        "hovertemplate": "after learning %{customdata[0]}<br>tested on %{customdata[1]}<br>"
        "%{z:.3f} bits per byte<extra></extra>",
    }
    layout: dict[str, Json] = {
        "xaxis": label_axis(columns, "tested on", 14) | {"tickangle": _angle(columns)},
        "yaxis": label_axis(rows, "after learning", 16) | {"autorange": "reversed"},
    }
    narrow = {
        "xaxis": {"ticktext": [chart_text(shortened(name, 9)) for name in columns]},
        "yaxis": {"ticktext": [chart_text(shortened(name, 9)) for name in rows]},
    }
    row_height = min(36 if len(rows) > 6 else 60, 900 // len(rows))
    return Chart(
        id="domain-matrix",
        title="Bits per byte by domain",
        caption="On the held-out text of each domain, after each domain of the stream. Lower is better.",
        figure={
            "data": [trace],
            "layout": layout,
            "narrow": {"data": [{"textfont": {"size": 9}}], "layout": narrow},
        },
        scale=(f"{min(values):.2f}", f"{max(values):.2f} bits per byte"),
        height=120 + len(rows) * row_height,
        narrow_height=110 + len(rows) * min(row_height, 44),
        min_width=0 if len(columns) <= 12 else 110 + 24 * len(columns),
        size="half" if len(columns) <= 12 else "full",
    )


def _angle(names: Sequence[str]) -> int:
    return 0 if max(map(len, names)) <= 3 or len(names) <= 3 else -90 if len(names) > 6 else -35
