"""Charts of a classifier's run over the stream: accuracy, loss, classes, speed, memory."""

from __future__ import annotations

import pyarrow as pa

from everlearn.evaluation.report.charts import Chart, Line, StreamChart
from everlearn.evaluation.report.comparison import column_of

__all__ = ["label_charts"]

_BASELINES = [
    Line(column=column_of(name), name=shown, colour=colour, dash=dash, width=1.2)
    for name, shown, colour, dash in (
        ("class_mean", "class mean", "@green", "dot"),
        ("words", "words alone", "@plum", "dashdot"),
        ("most_frequent", "most frequent label", "@ink-soft", "dot"),
        ("solved", "solved anew", "@ink-soft", "dash"),
    )
]
_CHARTS = (
    StreamChart(
        id="accuracy",
        title="Accuracy over the stream",
        caption="Each batch is predicted before it is learned. Thin lines: simple learners so far.",
        lines=[
            Line(column="rolling_accuracy", name="rolling accuracy", colour="@blue-soft"),
            Line(column="accuracy", name="accuracy so far", colour="@blue"),
            Line(column="macro_f1", name="macro-F1 so far", colour="@orange", dash="dash"),
            *_BASELINES,
        ],
        y_title="accuracy, macro-F1 (%)",
        unit=" %",
        factor=100,
        y_range=(0, 101),
        size="full",
        height=340,
    ),
    StreamChart(
        id="log-loss",
        title="Log-loss",
        caption="Mean so far. A label not known when it first came counts as good as impossible.",
        lines=[
            Line(column="log_loss", name="all examples", colour="@blue"),
            Line(column="log_loss_known", name="labels already known", colour="@orange", dash="dash"),
        ],
        y_title="log-loss (nats)",
        unit=" nats",
        number=".3f",
    ),
    StreamChart(
        id="calibration",
        title="Calibration error",
        caption="Distance between confidence and accuracy so far, in 15 bins.",
        lines=[Line(column="calibration_error", name="calibration error", colour="@blue")],
        y_title="calibration error (%)",
        unit=" %",
        factor=100,
    ),
    StreamChart(
        id="classes",
        title="Classes over time",
        caption="Labels known to the model.",
        lines=[Line(column="num_classes", name="classes", colour="@blue", stepped=True)],
        y_title="classes",
        unit=" classes",
        number=",.0f",
    ),
    StreamChart(
        id="throughput",
        title="Throughput",
        caption="Examples predicted and learned, batch by batch.",
        lines=[Line(column="examples_per_second", name="examples/s", colour="@blue")],
        y_title="examples per second",
        unit=" examples/s",
        number=",.0f",
    ),
    StreamChart(
        id="memory",
        title="Memory",
        caption="Resident memory of the process.",
        lines=[Line(column="memory_mb", name="memory", colour="@blue")],
        y_title="memory (MB)",
        unit=" MB",
        number=",.0f",
    ),
    StreamChart(
        id="outliers",
        title="Out of scope",
        caption="Share of each batch that is far from everything learned.",
        lines=[Line(column="outlier_share", name="out of scope", colour="@blue")],
        y_title="out of scope (%)",
        unit=" %",
        factor=100,
    ),
)


def label_charts(metrics: pa.Table) -> list[Chart]:
    """The charts over the stream for which the table has figures."""
    return [drawn for chart in _CHARTS if (drawn := chart.drawn(metrics)) is not None]
