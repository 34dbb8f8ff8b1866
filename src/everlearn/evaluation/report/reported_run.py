"""What the reports of all runs tell, and the page around what only some of them do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from everlearn.evaluation.comparison import Comparison
from everlearn.evaluation.report.charts import Chart
from everlearn.evaluation.report.decisions import decisions_section
from everlearn.evaluation.report.page import (
    Card,
    cards_section,
    figure_html,
    folded_section,
    notes_section,
    page_html,
)
from everlearn.types import Json

__all__ = ["ReportedRun", "run_page"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReportedRun:
    """A run as its report is told of it.

    Attributes:
        title: Title of the run.
        summary: Figures of the whole run. All are listed in a table; those that a report knows have a card,
            where they are not None.
        metrics: Table of how the run stood over the stream; missing columns are passed over.
        config: Settings of the run, nested or flat.
        notes: Sentences that the reader should know.
        decisions: Of the guard; see ``decisions_section``.
        comparison: With simple learners.
    """

    title: str
    summary: Mapping[str, Json]
    metrics: pa.Table
    config: Mapping[str, Json] | None = None
    notes: Sequence[str] = ()
    decisions: Sequence[Mapping[str, Json]] = ()
    comparison: Comparison | None = None


def run_page(
    run: ReportedRun,
    cards: Sequence[Card],
    stream_charts: Sequence[Chart],
    sections: Sequence[str],
    charts: Sequence[Chart],
) -> str:
    """The page of a run.

    Args:
        run: What all reports tell.
        cards: Figures of the summary that have a card.
        stream_charts: Charts over the stream.
        sections: What comes after them.
        charts: The charts within these sections.
    """
    parts = [cards_section(run.summary, cards), notes_section(run.notes)]
    if stream_charts:
        parts.append(f'<section class="grid">{"".join(map(figure_html, stream_charts))}</section>')
    parts += [*sections, decisions_section(run.decisions)]
    parts.append(folded_section("All figures", {k: v for k, v in run.summary.items() if k != "domains"}))
    parts.append(folded_section("Configuration", run.config or {}))
    return page_html(run.title, parts, [*stream_charts, *charts])
