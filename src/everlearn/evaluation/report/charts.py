"""Charts of a run as plotly figures in plain JSON: accuracy, loss, classes, speed, memory.

Colours are names such as ``@blue``. The page's script replaces them by the style sheet's, so that
charts follow the light and the dark scheme.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from everlearn.types import Json

__all__ = ["Chart", "Line", "stream_chart", "stream_charts"]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a chart over the stream.

    Attributes:
        column: Column of the metrics table.
        name: What the legend says.
        colour: Colour name.
        dash: plotly's dash style; lines differ in it too, so that no one needs to tell colours apart.
        stepped: Whether the value holds until the next point.
    """

    column: str
    name: str
    colour: str = "@blue"
    dash: str = "solid"
    stepped: bool = False


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A plotly figure and the HTML around it.

    Attributes:
        id: Element id.
        title: Heading.
        caption: One sentence on what is drawn.
        figure: ``data`` and ``layout``, and ``narrow`` with what differs on a narrow screen.
        legend: (name, colour, dash) of each line; empty for one line.
        scale: Words at the ends of the colour scale of a heat map.
        height: Height in pixels on a wide screen.
        narrow_height: Height in pixels on a narrow screen.
        min_width: Width in pixels below which the chart scrolls sideways.
        size: "full", "half" or "third" of a wide page.
    """

    id: str
    title: str
    caption: str
    figure: Mapping[str, Json]
    legend: Sequence[tuple[str, str, str]] = field(default=())
    scale: tuple[str, str] | None = None
    height: int = 260
    narrow_height: int = 230
    min_width: int = 0
    size: str = "third"


def stream_charts(metrics: pa.Table) -> list[Chart]:
    """The charts over the stream for which the table has figures."""
    charts = [
        stream_chart(
            metrics,
            "accuracy",
            "Accuracy over the stream",
            "Each batch is predicted before it is learned.",
            [
                Line(column="rolling_accuracy", name="rolling accuracy", colour="@blue-soft"),
                Line(column="accuracy", name="accuracy so far", colour="@blue"),
                Line(column="macro_f1", name="macro-F1 so far", colour="@orange", dash="dash"),
            ],
            y_title="accuracy, macro-F1 (%)",
            unit=" %",
            factor=100,
            y_range=(0, 101),
            size="full",
            height=340,
        ),
        stream_chart(
            metrics,
            "log-loss",
            "Log-loss",
            "Mean so far. A label not known when it first came counts as good as impossible.",
            [
                Line(column="log_loss", name="all examples", colour="@blue"),
                Line(column="log_loss_known", name="labels already known", colour="@orange", dash="dash"),
            ],
            y_title="log-loss (nats)",
            unit=" nats",
            number=".3f",
        ),
        stream_chart(
            metrics,
            "calibration",
            "Calibration error",
            "Distance between confidence and accuracy so far, in 15 bins.",
            [Line(column="calibration_error", name="calibration error", colour="@blue")],
            y_title="calibration error (%)",
            unit=" %",
            factor=100,
        ),
        stream_chart(
            metrics,
            "classes",
            "Classes over time",
            "Labels known to the model.",
            [Line(column="num_classes", name="classes", colour="@blue", stepped=True)],
            y_title="classes",
            unit=" classes",
            number=",.0f",
        ),
        stream_chart(
            metrics,
            "throughput",
            "Throughput",
            "Examples predicted and learned, batch by batch.",
            [Line(column="examples_per_second", name="examples/s", colour="@blue")],
            y_title="examples per second",
            unit=" examples/s",
            number=",.0f",
        ),
        stream_chart(
            metrics,
            "memory",
            "Memory",
            "Resident memory of the process.",
            [Line(column="memory_mb", name="memory", colour="@blue")],
            y_title="memory (MB)",
            unit=" MB",
            number=",.0f",
        ),
        stream_chart(
            metrics,
            "outliers",
            "Out of scope",
            "Share of each batch that is far from everything learned.",
            [Line(column="outlier_share", name="out of scope", colour="@blue")],
            y_title="out of scope (%)",
            unit=" %",
            factor=100,
        ),
    ]
    return [chart for chart in charts if chart is not None]


def stream_chart(
    metrics: pa.Table,
    id: str,
    title: str,
    caption: str,
    lines: Sequence[Line],
    *,
    y_title: str,
    unit: str,
    factor: float = 1,
    number: str = ".1f",
    y_range: tuple[float, float] | None = None,
    size: str = "third",
    height: int = 260,
    over: str = "examples",
    y_from_zero: bool = True,
) -> Chart | None:
    """A line chart over the stream, or None where no line has a point.

    Args:
        metrics: Holds the columns.
        id: Element id.
        title: Heading.
        caption: One sentence on what is drawn.
        lines: Columns to draw.
        y_title: Title of the y axis.
        unit: Behind a number on hover.
        factor: Numbers are multiplied by it.
        number: Format of a number on hover.
        y_range: Range of the y axis; None: that of the numbers.
        size: Of the chart, as in ``Chart``.
        height: Of the chart in pixels.
        over: Column of the x axis, and its title.
        y_from_zero: Whether the y axis begins at zero.
    """
    traces, legend = [], []
    places = metrics[over].to_pylist()
    highest = 0.0
    for line in lines:
        values = metrics[line.column].to_pylist() if line.column in metrics.column_names else []
        points = [(x, _number(y, factor)) for x, y in zip(places, values, strict=False) if _is_finite(y)]
        if not points:
            continue
        highest = max(highest, *(y for _, y in points))
        traces.append(
            {
                "type": "scatter",
                "mode": "lines" if len(points) > 1 else "markers",
                "name": line.name,
                "x": [x for x, _ in points],
                "y": [y for _, y in points],
                "line": {
                    "color": line.colour,
                    "width": 2,
                    "dash": line.dash,
                    "shape": "hv" if line.stepped else "linear",
                },
                "marker": {"color": line.colour, "size": 7},
                "hovertemplate": f"{line.name}: %{{y:{number}}}{unit}<extra></extra>",
            }
        )
        legend.append((line.name, line.colour, line.dash))
    if not traces:
        return None
    y_axis: dict[str, Json] = {"title": {"text": y_title}, "rangemode": "tozero" if y_from_zero else "normal"}
    if y_range:
        y_axis["range"] = list(y_range)
    elif highest == 0:
        y_axis["range"] = [0, 1]
    if number == ",.0f":
        y_axis |= {"tickformat": ",d"} | ({"dtick": 1} if highest <= 6 else {})
    layout = {
        "hovermode": "x unified",
        "xaxis": {
            "title": {"text": over},
            "tickformat": ",d",
            "unifiedhovertitle": {"text": f"%{{x:,d}} {over}"},
        },
        "yaxis": y_axis,
    }
    figure = {"data": traces, "layout": layout, "narrow": {"layout": {"xaxis": {"nticks": 5}}}}
    return Chart(
        id=id,
        title=title,
        caption=caption,
        figure=figure,
        legend=legend if len(legend) > 1 else (),
        height=height,
        size=size,
    )


def _is_finite(value: float | None) -> bool:
    return value is not None and bool(np.isfinite(value))


def _number(value: float, factor: float) -> float:
    """Six significant digits: more than a chart shows, and a third of the bytes."""
    return float(f"{value * factor:.6g}")
