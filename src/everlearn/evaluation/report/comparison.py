"""Simple learners in the report: a table beside the run's own accuracy, and lines in its chart."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from everlearn.evaluation.comparison import BASELINES, OWN, Comparison
from everlearn.evaluation.report.reported_run import ReportedRun
from everlearn.evaluation.report.words import count, html_text, percent, points
from everlearn.types import Json

__all__ = ["column_of", "comparison_section", "with_courses"]


def column_of(name: str) -> str:
    """The column that ``with_courses`` adds for a baseline."""
    return f"baseline_{name}"


def with_courses(metrics: pa.Table, comparison: Comparison | None) -> pa.Table:
    """The metrics table with a column of accuracies so far for each simple learner."""
    if comparison is None:
        return metrics
    places = metrics["examples"].to_pylist()
    for course in comparison.courses:
        if course.name != OWN:
            values = comparison.accuracies_at(course, places)
            metrics = metrics.append_column(column_of(course.name), pa.array(values, pa.float64()))
    return metrics


def comparison_section(run: ReportedRun) -> str:
    """The accuracy of each learner over the same examples, best first; empty where nothing is compared."""
    comparison = run.comparison
    if comparison is None:
        return ""
    accuracies = comparison.accuracies
    rows = []
    for name, accuracy in sorted(accuracies.items(), key=lambda item: -item[1]):
        is_own = name == OWN
        shown = "<strong>this run</strong>" if is_own else BASELINES[name]
        difference = "" if is_own else points(accuracy - accuracies[OWN], sign="+")
        rows.append(f"<tr><td>{shown}</td><td>{percent(accuracy)}</td><td>{difference}</td></tr>")
    return (
        '<section class="panel"><h2>What simple learners reach</h2>'
        f'<p class="caption">{html_text(_caption(comparison, run.summary))}</p>'
        '<table class="pairs compared"><thead><tr><th>learner</th><th>accuracy</th><th>difference</th></tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table></section>"
    )


def _caption(comparison: Comparison, summary: Mapping[str, Json]) -> str:
    which = "" if comparison.is_whole else "first "
    caption = (
        f"Accuracy on the {which}{count(comparison.num_scored)} examples with a label, each predicted before "
        "it was learned, from the same codes of the texts."
    )
    if summary.get("forgotten"):
        caption += " Forgotten examples are left out."
    if comparison.num_unlearned and comparison.num_scored > comparison.num_unlearned:
        rest = comparison.num_scored - comparison.num_unlearned
        caption += (
            f" {count(comparison.num_unlearned)} of them came before any label was learned; without these "
            f"this run reaches {percent(comparison.accuracies[OWN] * comparison.num_scored / rest)}."
        )
    return caption
