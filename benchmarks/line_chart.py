"""Courses as an SVG: panels in rows, a line for each of several things that are compared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

__all__ = ["Line", "Panel", "Style", "write_chart"]

_WIDTH, _HEIGHT = 450, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 30, 26
_COLUMNS = 3
_STEPS = tuple(digit * 10.0**power for power in range(-1, 6) for digit in (1, 2, 5))[1:]
"""Between the lines of the grid."""
_MOST_LINES = 9
_FEW = 4
_LARGE = 100
Style = tuple[str, str]
"""Colour and dashes of a line."""


@dataclass(frozen=True, slots=True)
class Line:
    """One course.

    Attributes:
        name: One of the styles' names.
        points: Across and up. Few points are marked.
    """

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Panel:
    """One part of the chart.

    Attributes:
        title: Its heading.
        lines: Its courses.
        mark: Where an upright line is drawn; None: none.
        mark_name: What it is.
        ticks: Words under 0, 1, 2, … of the axis; None: numbers at its quarters.
        begins_at_zero: Whether the upright axis does; else it begins below the least point.
    """

    title: str
    lines: Sequence[Line]
    mark: int | None = None
    mark_name: str = ""
    ticks: Sequence[str] | None = None
    begins_at_zero: bool = False


def write_chart(path: Path, panels: Sequence[Panel], styles: Mapping[str, Style], title: str) -> None:
    """Draw the panels, three in a row, each with its own scale.

    Args:
        path: The SVG file.
        panels: From left to right, then in the next row.
        styles: Of each line, by its name.
        title: What is drawn, for those who cannot see it.
    """
    parts = []
    for number, panel in enumerate(panels):
        row, column = divmod(number, _COLUMNS)
        parts += [
            f'<g transform="translate({column * _WIDTH} {row * _HEIGHT})">',
            *_panel(panel, styles),
            "</g>",
        ]
    num_rows = -(-len(panels) // _COLUMNS)
    width, height = _WIDTH * min(_COLUMNS, len(panels)), _HEIGHT * num_rows + 22
    names = dict.fromkeys(line.name for panel in panels for line in panel.lines)
    for place, name in enumerate(names):
        at = _LEFT + 190 * place
        parts.append(
            f'<line x1="{at}" x2="{at + 24}" y1="{height - 12}" y2="{height - 12}" {_stroke(styles[name])}/>'
        )
        parts.append(f'<text x="{at + 30}" y="{height - 8}">{escape(name)}</text>')
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" font-family="sans-serif" font-size="11" fill="#333">'
        f"<title>{escape(title)}</title>"
        f'<rect width="{width}" height="{height}" fill="#fff"/>{"".join(parts)}</svg>\n',
        encoding="utf-8",
    )


def _panel(panel: Panel, styles: Mapping[str, Style]) -> list[str]:
    points = [point for line in panel.lines for point in line.points]
    last = max(at for at, _ in points)
    if panel.ticks is not None:
        last = max(last, len(panel.ticks) - 1)
    least, most = min(nats for _, nats in points), max(nats for _, nats in points)
    if panel.begins_at_zero:
        least = min(0.0, least)
    step = next(one for one in _STEPS if most - least <= _MOST_LINES * one)
    low, high = math.floor(least / step) * step, math.ceil(most / step) * step
    if high == low:  # all is the same
        high += step
    bottom = _HEIGHT - _BOTTOM

    def x(at: float) -> float:
        return _LEFT + at / last * (_WIDTH - _LEFT - _RIGHT)

    def y(nats: float) -> float:
        return bottom - (nats - low) / (high - low) * (bottom - _TOP)

    parts = [f'<text x="{_LEFT}" y="20" font-weight="600">{escape(panel.title)}</text>']
    for tick in range(round(low / step), round(high / step) + 1):
        nats = tick * step
        parts.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(nats):.1f}" y2="{y(nats):.1f}" '
            'stroke="#e5e5e5"/>'
        )
        parts.append(f'<text x="{_LEFT - 6}" y="{y(nats) + 4:.1f}" text-anchor="end">{_number(nats)}</text>')
    for at, word in _ticks(panel, last):
        anchor = "end" if at == last else "middle"
        parts.append(f'<text x="{x(at):.1f}" y="{bottom + 16}" text-anchor="{anchor}">{escape(word)}</text>')
    if panel.mark is not None:
        at = x(panel.mark)
        parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{bottom}" stroke="#bbb"/>')
        side, anchor = (-4, "end") if at > _WIDTH / 2 else (4, "start")
        parts.append(
            f'<text x="{at + side:.1f}" y="{_TOP + 10}" text-anchor="{anchor}" fill="#777">'
            f"{escape(panel.mark_name)}</text>"
        )
    for line in panel.lines:
        drawn = " ".join(f"{x(at):.1f},{y(nats):.1f}" for at, nats in line.points)
        parts.append(f'<polyline points="{drawn}" fill="none" {_stroke(styles[line.name])}/>')
        if len(line.points) <= _FEW:
            colour = styles[line.name][0]
            parts += [
                f'<circle cx="{x(at):.1f}" cy="{y(nats):.1f}" r="3" fill="{colour}"/>'
                for at, nats in line.points
            ]
    return parts


def _ticks(panel: Panel, last: float) -> list[tuple[float, str]]:
    if panel.ticks is not None:
        return [(float(place), word) for place, word in enumerate(panel.ticks)]
    return [(last * quarter / 4, _number(last * quarter / 4)) for quarter in range(1, 5)]


def _number(value: float) -> str:
    """With as many digits as tell neighbours apart."""
    return f"{value:,.0f}" if abs(value) >= _LARGE else f"{value:.3g}"


def _stroke(style: Style) -> str:
    colour, dashes = style
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'stroke="{colour}" stroke-width="1.8"{dashed}'
