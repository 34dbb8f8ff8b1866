"""The courses of ``benchmarks.poison`` as an SVG: one panel a share of wrong labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

__all__ = ["Course", "write_chart"]

_WIDTH, _HEIGHT = 300, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 42, 8, 34, 34
_STYLES = (
    ("clean, no guard", "#8a8a8a", "4 3"),
    ("wrong labels, no guard", "#c43c2f", ""),
    ("wrong labels, guard", "#2563a8", ""),
)


@dataclass(frozen=True, slots=True)
class Course:
    """Test accuracy of what was served after so many examples.

    Attributes:
        name: What ran.
        offsets: Examples that had come.
        accuracies: In percent.
        num_rejected: Candidates that the guard refused.
        num_candidates: Candidates that it judged.
    """

    name: str
    offsets: tuple[int, ...]
    accuracies: tuple[float, ...]
    num_rejected: int = 0
    num_candidates: int = 0


def write_chart(path: Path, courses: Sequence[Course], bursts: Sequence[int], burst_size: int) -> None:
    """Draw the courses.

    Args:
        path: The SVG file.
        courses: Clean without guard, clean with guard, then the two of each share.
        bursts: Where the bursts begin.
        burst_size: Examples in each.
    """
    begin = bursts[0] - 2_000
    shown = [
        a for course in courses for o, a in zip(course.offsets, course.accuracies, strict=True) if o >= begin
    ]
    low, high = int(min(shown) * 2) / 2, int(max(shown) * 2 + 1) / 2
    last = courses[0].offsets[-1]

    def x(offset: float) -> float:
        return _LEFT + (offset - begin) / (last - begin) * (_WIDTH - _LEFT - _RIGHT)

    def y(accuracy: float) -> float:
        return _HEIGHT - _BOTTOM - (accuracy - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    parts = []
    pairs = list(zip(courses[2::2], courses[3::2], strict=True))
    for panel, (off, on) in enumerate(pairs):
        parts.append(f'<g transform="translate({panel * _WIDTH} 0)">')
        parts.append(
            f'<text x="{_LEFT}" y="20" font-weight="600">{escape(off.name.split(",")[0])} labels</text>'
        )
        for start in bursts:
            width, height = x(start + burst_size) - x(start), _HEIGHT - _TOP - _BOTTOM
            parts.append(
                f'<rect x="{x(start):.1f}" y="{_TOP}" width="{width:.1f}" height="{height}" fill="#f3dcd8"/>'
            )
        for tick in range(int(low), int(high) + 1):
            if low <= tick <= high:
                parts.append(
                    f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" '
                    'stroke="#e5e5e5"/>'
                )
                parts.append(f'<text x="{_LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick} %</text>')
        parts += [
            f'<text x="{x(offset):.1f}" y="{_HEIGHT - 16}" text-anchor="middle">{offset:,}</text>'
            for offset in range(-(-begin // 4_000) * 4_000, last + 1, 4_000)
        ]
        for course, (_, colour, dashes) in zip((courses[0], off, on), _STYLES, strict=True):
            points = " ".join(
                f"{x(offset):.1f},{y(accuracy):.1f}"
                for offset, accuracy in zip(course.offsets, course.accuracies, strict=True)
                if offset >= begin
            )
            dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
            parts.append(
                f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.8"{dashed}/>'
            )
        parts.append("</g>")
    width = _WIDTH * len(pairs)
    for k, (name, colour, dashes) in enumerate(_STYLES):
        at = 42 + 220 * k
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        parts.append(
            f'<line x1="{at}" x2="{at + 24}" y1="{_HEIGHT + 6}" y2="{_HEIGHT + 6}" stroke="{colour}" '
            f'stroke-width="1.8"{dashed}/><text x="{at + 30}" y="{_HEIGHT + 10}">{name}</text>'
        )
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_HEIGHT + 22}" '
        f'width="{width}" font-family="sans-serif" font-size="11" fill="#333">'
        "<title>Accuracy of the served model on clean test data, by examples that have come</title>"
        f'<rect width="{width}" height="{_HEIGHT + 22}" fill="#fff"/>{"".join(parts)}</svg>\n',
        encoding="utf-8",
    )
