"""The report of a run that learns several labels an example."""

from __future__ import annotations

from collections.abc import Mapping

from everlearn.evaluation.report.charts import Line, StreamChart
from everlearn.evaluation.report.confusion import label_cell
from everlearn.evaluation.report.label_charts import label_charts
from everlearn.evaluation.report.page import Card
from everlearn.evaluation.report.reported_run import ReportedRun, run_page
from everlearn.evaluation.report.words import NO_BREAK_SPACE, count, duration, percent
from everlearn.evaluation.set_scores import LabelCounts

__all__ = ["set_report_html"]

_MOST_LABELS = 100
_CARDS: tuple[Card, ...] = (
    ("prequential_micro_f1", "prequential micro-F1", percent, "each batch predicted before it was learned"),
    ("prequential_macro_f1", "prequential macro-F1", percent, "mean over the labels"),
    ("prequential_subset_accuracy", "whole sets right", percent, "share of examples, prequential"),
    ("test_micro_f1", "test micro-F1", percent, "on the held-out test set, at the end"),
    ("test_macro_f1", "test macro-F1", percent, "on the held-out test set, at the end"),
    ("examples", "examples", count, "examples of the stream"),
    ("rejected", "rejected", count, "records that could not be read; see rejected.jsonl"),
    ("classes", "labels", count, "known at the end"),
    ("labels_per_example", "labels an example", lambda mean: f"{mean:.2f}", "mean over the stream"),
    ("examples_per_second", "examples/s", count, "predicted and learned, over the whole run"),
    ("seconds", "time", duration, "wall-clock time of the run"),
    ("peak_memory_mb", "peak memory", lambda mb: f"{mb:,.0f}{NO_BREAK_SPACE}MB", "resident memory"),
)
_F1_CHART = StreamChart(
    id="f1",
    title="F1 over the stream",
    caption="Each batch is predicted before it is learned.",
    lines=[
        Line(column="rolling_micro_f1", name="rolling micro-F1", colour="@blue-soft"),
        Line(column="micro_f1", name="micro-F1 so far", colour="@blue"),
        Line(column="macro_f1", name="macro-F1 so far", colour="@orange", dash="dash"),
        Line(column="accuracy", name="whole sets right so far", colour="@plum", dash="dash"),
    ],
    y_title="F1, accuracy (%)",
    unit=" %",
    factor=100,
    y_range=(0, 101),
    size="full",
    height=340,
)


def set_report_html(run: ReportedRun, by_label: Mapping[str, LabelCounts]) -> str:
    """The page. The same arguments give the same page.

    Args:
        run: Its summary has the figures of ``SetScores`` with the prefixes ``prequential_`` and ``test_``;
            its metrics have the columns of ``SetMetricsRow``.
        by_label: How each label fared in the stream.
    """
    first = _F1_CHART.drawn(run.metrics)
    # Accuracy has its place in the first chart; the others are those of every classifier.
    others = [chart for chart in label_charts(run.metrics) if chart.id != "accuracy"]
    sections = [_labels_section(by_label)] if by_label else []
    return run_page(run, _CARDS, [*([] if first is None else [first]), *others], sections, [])


def _labels_section(by_label: Mapping[str, LabelCounts]) -> str:
    most = sorted(by_label.items(), key=lambda item: (-item[1].targets, item[0]))[:_MOST_LABELS]
    rows = "".join(
        f"<tr><td>{label_cell(label)}</td><td>{one.targets:,}</td><td>{_share(one.hits, one.predicted)}</td>"
        f"<td>{_share(one.hits, one.targets)}</td><td>{'' if one.f1 is None else percent(one.f1)}</td></tr>"
        for label, one in most
    )
    left_out = f" The {_MOST_LABELS} most frequent ones." if len(by_label) > _MOST_LABELS else ""
    return (
        '<section class="grid"><div class="panel side"><h2>Labels</h2>'
        f'<p class="caption">How each fared in the stream.{left_out}</p>'
        '<table class="pairs"><thead><tr><th>label</th><th>examples</th><th>precision</th><th>recall</th>'
        f"<th>F1</th></tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def _share(part: int, whole: int) -> str:
    return percent(part / whole) if whole else ""
