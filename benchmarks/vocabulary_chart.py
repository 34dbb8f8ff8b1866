"""The courses of ``benchmarks.vocabulary`` as an SVG: bits per byte by bytes seen, a line an arm."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path

__all__ = ["write_chart"]

_WIDTH, _HEIGHT = 560, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 16, 46
_COLOURS = ("#8a8a8a", "#2563a8", "#c43c2f")


def write_chart(path: Path, courses: Mapping[str, Mapping[int, float]]) -> None:
    """Draw bits per byte by bytes seen.

    Args:
        path: The SVG file.
        courses: By name; bits per byte by bytes seen.
    """
    values = [value for course in courses.values() for value in course.values()]
    last = max(at for course in courses.values() for at in course)
    low, high = int(min(values) * 5) / 5, (int(max(values) * 5) + 1) / 5
    bottom = _HEIGHT - _BOTTOM

    def x(seen: float) -> float:
        return _LEFT + seen / last * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return bottom - (value - low) / (high - low) * (bottom - _TOP)

    parts = []
    for tick in range(round(low * 5), round(high * 5) + 1):
        at = y(tick / 5)
        parts.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}" stroke="#e5e5e5"/>'
        )
        parts.append(f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{tick / 5:.1f}</text>')
    spacing = 10 ** (len(str(last)) - 1) // (2 if str(last)[0] in "12" else 1)
    parts += [
        f'<text x="{x(seen):.1f}" y="{bottom + 16}" text-anchor="middle">{seen // 1000} kB</text>'
        for seen in range(0, last + 1, spacing)
    ]
    for k, (name, course) in enumerate(courses.items()):
        colour = _COLOURS[k % len(_COLOURS)]
        points = " ".join(f"{x(seen):.1f},{y(value):.1f}" for seen, value in course.items())
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
        at = _LEFT + 200 * k
        parts.append(
            f'<line x1="{at}" x2="{at + 24}" y1="{_HEIGHT - 12}" y2="{_HEIGHT - 12}" stroke="{colour}" '
            'stroke-width="1.8"/>'
        )
        parts.append(f'<text x="{at + 30}" y="{_HEIGHT - 8}">{escape(name)} vocabulary</text>')
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        'font-family="sans-serif" font-size="11" fill="#333">'
        "<title>Bits per byte of held-back poems by bytes of the stream that were learned</title>"
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>{"".join(parts)}</svg>\n',
        encoding="utf-8",
    )
