"""The courses of ``benchmarks.poison`` as an SVG: a column a scenario, a panel a share of wrong labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

__all__ = ["Course", "Panel", "write_chart"]

_WIDTH, _HEIGHT = 450, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 42, 10, 30, 26
_STYLES = (
    ("clean, no guard", "#8a8a8a", "4 3"),
    ("wrong labels, no guard", "#c43c2f", ""),
    ("wrong labels, guard", "#2563a8", ""),
)


@dataclass(frozen=True, slots=True)
class Course:
    """Test accuracy of what was served after so many examples.

    Attributes:
        scenario: What went wrong.
        share: How many labels of a burst.
        has_guard: Whether there was a guard.
        seed: Of the order.
        accuracies: In percent, by the number of examples that had come.
        num_wrong: Wrong labels in what is served at the end.
        num_rejected: Candidates that the guard refused.
        num_candidates: Candidates that it judged.
    """

    scenario: str
    share: float
    has_guard: bool
    seed: int
    accuracies: Mapping[int, float] = field(default_factory=dict)
    num_wrong: int = 0
    num_rejected: int = 0
    num_candidates: int = 0


@dataclass(frozen=True, slots=True)
class Panel:
    """One part of the chart.

    Attributes:
        title: Its heading.
        courses: Clean, without guard, with guard.
        bursts: Where the bursts begin.
    """

    title: str
    courses: tuple[Course, Course, Course]
    bursts: Sequence[int]


def write_chart(path: Path, columns: Sequence[Sequence[Panel]], burst_size: int) -> None:
    """Draw the courses; panels of one column share their scale.

    Args:
        path: The SVG file.
        columns: The panels from left to right, each column from top to bottom.
        burst_size: Examples in each burst.
    """
    parts = []
    for column, panels in enumerate(columns):
        shown = [score for panel in panels for one in panel.courses for score in one.accuracies.values()]
        step = 1 if max(shown) - min(shown) < 6 else 10
        low, high = int(min(shown) * 2 / step) * step / 2, int(max(shown) * 2 + 1) / 2
        for row, panel in enumerate(panels):
            parts.append(f'<g transform="translate({column * _WIDTH} {row * _HEIGHT})">')
            parts += [*_panel(panel, burst_size, low, high, step), "</g>"]
    width, height = _WIDTH * len(columns), _HEIGHT * max(len(panels) for panels in columns) + 22
    for k, (name, _, _) in enumerate(_STYLES):
        at = _LEFT + 200 * k
        parts.append(f'<line x1="{at}" x2="{at + 24}" y1="{height - 12}" y2="{height - 12}" {_stroke(k)}/>')
        parts.append(f'<text x="{at + 30}" y="{height - 8}">{name}</text>')
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" font-family="sans-serif" font-size="11" fill="#333">'
        "<title>Accuracy of the served model on clean test data, by examples that have come</title>"
        f'<rect width="{width}" height="{height}" fill="#fff"/>{"".join(parts)}</svg>\n',
        encoding="utf-8",
    )


def _panel(panel: Panel, burst_size: int, low: float, high: float, step: int) -> list[str]:
    begin, last = min(panel.courses[0].accuracies), max(panel.courses[0].accuracies)
    bottom = _HEIGHT - _BOTTOM

    def x(offset: float) -> float:
        return _LEFT + (offset - begin) / (last - begin) * (_WIDTH - _LEFT - _RIGHT)

    def y(accuracy: float) -> float:
        return bottom - (accuracy - low) / (high - low) * (bottom - _TOP)

    parts = [f'<text x="{_LEFT}" y="20" font-weight="600">{escape(panel.title)}</text>']
    parts += [
        f'<rect x="{x(start):.1f}" y="{_TOP}" width="{x(start + burst_size) - x(start):.1f}" '
        f'height="{bottom - _TOP}" fill="#f3dcd8"/>'
        for start in panel.bursts
    ]
    for tick in range(-(-int(low * 2) // (2 * step)) * step, int(high) + 1, step):
        parts.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" '
            'stroke="#e5e5e5"/>'
        )
        parts.append(f'<text x="{_LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick} %</text>')
    parts += [
        f'<text x="{x(offset):.1f}" y="{bottom + 16}" text-anchor="middle">{offset:,}</text>'
        for offset in range(-(-begin // 2_000) * 2_000, last + 1, 2_000)
    ]
    for k, course in enumerate(panel.courses):
        points = " ".join(f"{x(at):.1f},{y(score):.1f}" for at, score in course.accuracies.items())
        parts.append(f'<polyline points="{points}" fill="none" {_stroke(k)}/>')
    return parts


def _stroke(style: int) -> str:
    _, colour, dashes = _STYLES[style]
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'stroke="{colour}" stroke-width="1.8"{dashed}'
