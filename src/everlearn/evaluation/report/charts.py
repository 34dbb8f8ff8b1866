"""Charts of a run as plotly figures in plain JSON, and how lines over the stream become one.

Colours are names such as ``@blue``. The page's script replaces them by the style sheet's, so that
charts follow the light and the dark scheme.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from everlearn.types import Json

__all__ = ["Chart", "Line", "StreamChart"]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a chart over the stream.

    Attributes:
        column: Column of the metrics table.
        name: What the legend says.
        colour: Colour name.
        dash: plotly's dash style; lines differ in it too, so that no one needs to tell colours apart.
        stepped: Whether the value holds until the next point.
        width: In pixels.
    """

    column: str
    name: str
    colour: str = "@blue"
    dash: str = "solid"
    stepped: bool = False
    width: float = 2


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


@dataclass(frozen=True, kw_only=True)
class StreamChart:
    """What a line chart over the stream shows.

    Attributes:
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

    id: str
    title: str
    caption: str
    lines: Sequence[Line]
    y_title: str
    unit: str
    factor: float = 1
    number: str = ".1f"
    y_range: tuple[float, float] | None = None
    size: str = "third"
    height: int = 260
    over: str = "examples"
    y_from_zero: bool = True

    def drawn(self, metrics: pa.Table) -> Chart | None:
        """The chart of a table's columns, or None where no line has a point."""
        traces, legend = [], []
        places = metrics[self.over].to_pylist()
        highest = 0.0
        for line in self.lines:
            values = metrics[line.column].to_pylist() if line.column in metrics.column_names else []
            points = [
                (x, _number(y, self.factor)) for x, y in zip(places, values, strict=False) if _is_finite(y)
            ]
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
                        "width": line.width,
                        "dash": line.dash,
                        "shape": "hv" if line.stepped else "linear",
                    },
                    "marker": {"color": line.colour, "size": 7},
                    "hovertemplate": f"{line.name}: %{{y:{self.number}}}{self.unit}<extra></extra>",
                }
            )
            legend.append((line.name, line.colour, line.dash))
        if not traces:
            return None
        figure = {
            "data": traces,
            "layout": self._layout(highest),
            "narrow": {"layout": {"xaxis": {"nticks": 5}}},
        }
        return Chart(
            id=self.id,
            title=self.title,
            caption=self.caption,
            figure=figure,
            legend=legend if len(legend) > 1 else (),
            height=self.height,
            size=self.size,
        )

    def _layout(self, highest: float) -> Json:
        y_axis: dict[str, Json] = {
            "title": {"text": self.y_title},
            "rangemode": "tozero" if self.y_from_zero else "normal",
        }
        if self.y_range:
            y_axis["range"] = list(self.y_range)
        elif highest == 0:
            y_axis["range"] = [0, 1]
        if self.number == ",.0f":
            y_axis |= {"tickformat": ",d"} | ({"dtick": 1} if highest <= 6 else {})
        return {
            "hovermode": "x unified",
            "xaxis": {
                "title": {"text": self.over},
                "tickformat": ",d",
                "unifiedhovertitle": {"text": f"%{{x:,d}} {self.over}"},
            },
            "yaxis": y_axis,
        }


def _is_finite(value: float | None) -> bool:
    return value is not None and bool(np.isfinite(value))


def _number(value: float, factor: float) -> float:
    """Six significant digits: more than a chart shows, and a third of the bytes."""
    return float(f"{value * factor:.6g}")
