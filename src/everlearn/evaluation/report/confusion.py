"""What is taken for what: the most confused pairs, and the heat map of a confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from everlearn.evaluation.confusion import Confusion
from everlearn.evaluation.report.charts import Chart
from everlearn.evaluation.report.matrix import label_axis
from everlearn.evaluation.report.words import chart_text, html_text, percent, shortened

__all__ = ["ConfusedPair", "confused_pairs", "confusion_chart", "label_cell", "pairs_table"]

MAX_CLASSES = 30
"""Beyond as many labels, the heat map shows only those of the most confused pairs."""

# Errors are rare beside hits; the square root makes shares of a few percent visible.
_EXPONENT = 0.5


@dataclass(frozen=True)
class ConfusedPair:
    """Examples of ``target`` that were predicted as ``predicted``, and their share of all of ``target``."""

    target: str
    predicted: str
    count: int
    share: float


def confused_pairs(confusion: Confusion, limit: int = 20) -> list[ConfusedPair]:
    """The most frequent errors, most frequent first; ties in the order of the labels.

    Args:
        confusion: What was taken for what.
        limit: How many at most.
    """
    labels, totals = confusion.labels, confusion.row_totals
    errors = np.flatnonzero(confusion.rows != confusion.columns)
    most = errors[np.argsort(-confusion.counts[errors], kind="stable")[:limit]]
    pairs = []
    for row, column, number in zip(
        confusion.rows[most].tolist(),
        confusion.columns[most].tolist(),
        confusion.counts[most].tolist(),
        strict=True,
    ):
        pairs.append(ConfusedPair(labels[row], labels[column], number, number / int(totals[row])))
    return pairs


def pairs_table(pairs: Sequence[ConfusedPair]) -> str:
    """The pairs as an HTML table with a bar for each count."""
    most = max(pair.count for pair in pairs)
    rows = "".join(
        f'<tr><td><span class="pair">{label_cell(pair.target)} '
        f'<span class="arrow" aria-label="predicted as">→</span> '
        f"{label_cell(pair.predicted)}</span>"
        f'<span class="bar" style="width:{100 * pair.count / most:.1f}%"></span></td>'
        f"<td>{pair.count:,}</td><td>{percent(pair.share)}</td></tr>"
        for pair in pairs
    )
    return (
        '<table class="pairs"><thead><tr><th>target → predicted</th><th>examples</th>'
        f"<th>of target</th></tr></thead><tbody>{rows}</tbody></table>"
    )


def label_cell(label: str) -> str:
    """A label in a table; a long one in full on hover."""
    full = f' title="{html_text(label)}"' if len(label) > 48 else ""
    return f"<bdi{full}>{html_text(shortened(label, 48))}</bdi>"


def confusion_chart(confusion: Confusion) -> Chart | None:
    """The heat map, of the classes in the most confused pairs where there are more than 30.

    Returns:
        None where there is nothing to tell apart: fewer than two labels, or many and no error.
    """
    labels = confusion.labels
    if len(labels) < 2 or not len(confusion.counts):
        return None
    chosen = list(range(len(labels)))
    if len(labels) > MAX_CLASSES:
        chosen = _involved(confusion)
        if not chosen:
            return None
    totals = confusion.row_totals[chosen]
    counts = confusion.among(chosen)
    shares = counts / np.maximum(totals, 1)[:, None]
    names = [labels[i] for i in chosen]
    num = len(names)
    shown = [chart_text(name) for name in names]
    few = num <= 12
    texts = [[f"{100 * v:.0f}" if v else "" for v in row] for row in shares] if few else None
    trace = {
        "type": "heatmap",
        "z": np.round(shares**_EXPONENT, 4).tolist(),
        "zmin": 0,
        "zmax": 1,
        "colorscale": "@heat",
        "showscale": False,
        "xgap": 1,
        "ygap": 1,
        "text": texts,
        "texttemplate": "%{text}" if few else "",
        "textfont": {"size": 12},
        "customdata": [
            [
                [shown[r], shown[c], int(counts[r, c]), int(totals[r]), f"{100 * shares[r, c]:.1f}"]
                for c in range(num)
            ]
            for r in range(num)
        ],
        "hovertemplate": "target %{customdata[0]}<br>predicted %{customdata[1]}<br>"
        "%{customdata[2]:,d} of %{customdata[3]:,d} examples (%{customdata[4]} %)<extra></extra>",
    }
    size = 12 if few else 10
    layout = {
        "xaxis": label_axis(names, "predicted", 18)
        | {"tickangle": -90 if num > 4 else 0, "tickfont": {"size": size}},
        "yaxis": label_axis(names, "target", 18) | {"autorange": "reversed", "tickfont": {"size": size}},
    }
    narrow_texts = [chart_text(shortened(name, 12)) for name in names]
    narrow = {
        "data": [{"textfont": {"size": 10}}],
        "layout": {
            "xaxis": {"ticktext": narrow_texts, "tickangle": -90},
            "yaxis": {"ticktext": narrow_texts},
        },
    }
    some = f"The {num} of {len(labels)} classes in the most confused pairs. " if num < len(labels) else ""
    return Chart(
        id="confusion",
        title="Confusion",
        caption=f"{some}Colour is the share (%) of a target's examples, on a square-root scale.",
        figure={"data": [trace], "layout": layout, "narrow": narrow},
        scale=("0 %", "100 %"),
        height=170 + num * (40 if few else 19),
        narrow_height=150 + num * (34 if few else 18),
        min_width=0 if few else 150 + 15 * num,
        size="half" if num <= 16 else "wide",
    )


def _involved(confusion: Confusion) -> list[int]:
    """Positions of the labels in the most confused pairs, partners side by side."""
    place = {label: i for i, label in enumerate(confusion.labels)}
    chosen: dict[int, None] = {}
    for pair in confused_pairs(confusion):
        new = {place[pair.target], place[pair.predicted]} - chosen.keys()
        if len(chosen) + len(new) > MAX_CLASSES:
            break
        chosen[place[pair.target]] = None
        chosen[place[pair.predicted]] = None
    return list(chosen)
