"""The experience matrix as a heat map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import takewhile

from everlearn.evaluation.matrix import AccuracyMatrix
from everlearn.evaluation.report.charts import Chart
from everlearn.evaluation.report.words import chart_text, shortened
from everlearn.types import Json

__all__ = ["label_axis", "matrix_chart"]


def matrix_chart(matrix: AccuracyMatrix) -> Chart | None:
    """The experience matrix as a heat map, or None where nothing was measured."""
    if matrix.num_learned == 0:
        return None
    num = len(matrix.experience_names)
    shown = 100 * matrix.values
    cells = [[None if math.isnan(v) else round(float(v), 2) for v in row] for row in shown]
    names = [chart_text(name) for name in matrix.experience_names]
    prefix = _common_prefix(matrix.experience_names)
    word = f" {chart_text(shortened(prefix, 20))} …" if prefix else ""
    ticks = [name[len(prefix) :].strip() for name in matrix.experience_names]
    angle = 0 if max(map(len, ticks)) <= 3 else -90 if num > 6 else -35
    # Cells have room for a decimal on a wide screen only, and beyond two dozen for nothing.
    wide = [["" if v is None else f"{v:.1f}" for v in row] for row in cells] if num <= 16 else None
    narrow = [["" if v is None else f"{v:.0f}" for v in row] for row in cells] if num <= 24 else None
    trace = {
        "type": "heatmap",
        "z": cells,
        "zmin": 0,
        "zmax": 100,
        "colorscale": "@heat",
        "showscale": False,
        "xgap": 1,
        "ygap": 1,
        "hoverongaps": False,
        "text": wide or narrow,
        "texttemplate": "%{text}" if wide or narrow else "",
        "textfont": {"size": 12 if num <= 12 else 10},
        "customdata": [[[after, on] for on in names] for after in names],
        "hovertemplate": "after learning %{customdata[0]}<br>tested on %{customdata[1]}<br>"
        "accuracy %{z:.1f} %<extra></extra>",
    }
    layout = {
        "xaxis": label_axis(ticks, f"tested on{word}", 14) | {"tickangle": angle},
        "yaxis": label_axis(ticks, f"after learning{word}", 16) | {"autorange": "reversed"},
    }
    narrow_ticks = [chart_text(shortened(tick, 9)) for tick in ticks]
    narrow_layout = {"xaxis": {"ticktext": narrow_ticks}, "yaxis": {"ticktext": narrow_ticks}}
    return Chart(
        id="experiences",
        title="Accuracy by experience (%)",
        caption="Accuracy on the held-out set of each experience after each step of learning.",
        figure={
            "data": [trace],
            "layout": layout,
            "narrow": {"data": [{"text": narrow, "textfont": {"size": 9}}], "layout": narrow_layout},
        },
        scale=("0 %", "100 %"),
        height=120 + num * min(36 if num > 6 else 60, 900 // num),
        narrow_height=110 + num * min(28 if num > 6 else 44, 900 // num),
        min_width=0 if num <= 12 else 110 + 18 * num,
        size="half" if num <= 12 else "full",
    )


def _common_prefix(names: Sequence[str]) -> str:
    """The words that all names begin with, so that axes need to say them only once."""
    if len(names) < 2:
        return ""
    words = [name.split(" ")[:-1] for name in names]
    shared = takewhile(lambda column: len(set(column)) == 1, zip(*words, strict=False))
    return " ".join(column[0] for column in shared)


def label_axis(labels: Sequence[str], title: str, length: int) -> dict[str, Json]:
    """An axis of a heat map whose rows and columns are numbers, so that labels can be anything."""
    return {
        "title": {"text": title},
        "tickvals": list(range(len(labels))),
        "ticktext": [chart_text(shortened(label, length)) for label in labels],
        "showgrid": False,
        "fixedrange": True,
        "ticks": "",
    }
