"""The chart of ``benchmarks.lm_stream``: bits per byte of each domain while they are learned in turn."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.line_chart import Line, Panel, Style, write_chart
from everlearn.evaluation.text_scores import DomainMatrix

__all__ = ["write_forgetting_chart"]

_STYLES: tuple[Style, ...] = (("#8a8a8a", "4 3"), ("#2563a8", ""), ("#c98a1b", ""), ("#2c8a4b", "6 2"))


def write_forgetting_chart(path: Path, arms: Mapping[str, Mapping[str, Any]]) -> None:
    """Draw a panel a domain, a line an arm that learned the domains in order."""
    matrices = {name: DomainMatrix.from_json(one["matrix"]) for name, one in arms.items()}
    ordered = {name: matrix for name, matrix in matrices.items() if len(matrix.learned) > 2}
    domains = next(iter(ordered.values())).domains
    panels = []
    for column, domain in enumerate(domains):
        lines = []
        for name, matrix in ordered.items():
            points = [(row, values[column]) for row, values in enumerate(matrix.values)]
            lines.append(Line(name, [(row, bits) for row, bits in points if bits is not None]))
        panels.append(Panel(domain, lines, column + 1, "learned", ["start", *"12345"[: len(domains)]]))
    styles = dict(zip(ordered, _STYLES, strict=False))
    write_chart(path, panels, styles, "Bits per byte of each domain after each domain of the stream")
