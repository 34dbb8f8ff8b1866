"""Charts of the parts, as SVG, drawn from the rows that they print and from nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.line_chart import Line, Panel, Style, write_chart

__all__ = ["draw"]

Rows = Sequence[Mapping[str, Any]]

_OURS, _RIVAL, _PEER = "everlearn serve", "rival", "infinity"
_STYLES: dict[str, Style] = {
    _OURS: ("#2563a8", ""),
    _RIVAL: ("#c43c2f", ""),
    _PEER: ("#c98a1b", ""),
    "forward passes alone": ("#8a8a8a", "2 3"),
    "workers alone": ("#8a8a8a", "6 3"),
    "without": ("#8a8a8a", "4 3"),
    "beside": ("#2563a8", ""),
    "corrections": ("#2563a8", ""),
    "all processes": ("#2563a8", ""),
    "at rest": ("#c98a1b", "4 3"),
    "median": ("#8a8a8a", "4 3"),
    "p99": ("#2563a8", ""),
    "failed": ("#c43c2f", ""),
}
"""Of all lines."""


def draw(folder: Path, part: str, rows: Rows) -> Path | None:
    """Draw a part's rows; None: there is no chart of it.

    Args:
        folder: Where the SVG goes, as ``service-PART.svg``; is made where there is none.
        part: One of the parts of ``python -m benchmarks.service``.
        rows: What it has printed.
    """
    if part not in _CHARTS:
        return None
    title, panels = _CHARTS[part]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"service-{part}.svg"
    write_chart(path, panels(rows), _STYLES, title)
    return path


def _load(rows: Rows) -> list[Panel]:
    """Of the parts load and embeddings: by callers, of whoever was asked."""
    asked = {name: [row for row in rows if row["what"] == name] for name in (_OURS, _RIVAL, _PEER)}
    asked = {name: of_one for name, of_one in asked.items() if of_one}
    ticks = _callers(asked[_OURS])
    last = len(ticks) - 1.0
    ceilings = [
        Line(name, [(0.0, row["per_second"]), (last, row["per_second"])])
        for name in ("forward passes alone", "workers alone")
        for row in rows
        if row["what"].startswith(name)
    ]
    return [
        Panel(
            title,
            [Line(name, _places(of_one, figure)) for name, of_one in asked.items()] + beside,
            ticks=ticks,
            begins_at_zero=True,
        )
        for title, figure, beside in (
            ("texts a second", "per_second", ceilings),
            ("ms to an answer, median", "p50_ms", []),
            ("ms to an answer, 99 of 100 within", "p99_ms", []),
        )
    ]


def _learning(rows: Rows) -> list[Panel]:
    """Means of the rounds with as many callers."""
    by_callers: dict[int, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_callers.setdefault(row["callers"], []).append(row)
    rounds = list(by_callers.values())
    return [
        Panel(
            title,
            [
                Line(
                    name,
                    [(float(at), fmean(row[name][figure] for row in of)) for at, of in enumerate(rounds)],
                )
                for name in ("without", "beside")
            ],
            ticks=_callers([of[0] for of in rounds]),
            begins_at_zero=True,
        )
        for title, figure in (
            ("ms to an answer, median", "p50_ms"),
            ("ms to an answer, 99 of 100 within", "p99_ms"),
        )
    ]


def _corrections(rows: Rows) -> list[Panel]:
    (row,) = rows
    times = sorted(row["ms"])
    shown = [ms for ms in times if ms <= 3 * row["p95_ms"]]  # the few beyond would be all that one sees
    points = [(0.0, 0.0)]
    for number, ms in enumerate(shown):
        points += [(ms, 100 * number / len(times)), (ms, 100 * (number + 1) / len(times))]
    beyond = f"; {len(times) - len(shown)} took up to {times[-1]:,.0f} ms" if len(shown) < len(times) else ""
    return [
        Panel(
            f"% of corrections answered within so many ms{beyond}",
            [Line("corrections", points)],
            round(row["p50_ms"]),
            f"median {row['p50_ms']:g} ms",
        )
    ]


def _soak(rows: Rows) -> list[Panel]:
    (row,) = rows
    return [
        Panel(title, [Line("all processes", _over_time(row, name)), *more], begins_at_zero=True)
        for title, name, more in (
            ("memory (PSS) in MB, by minutes", "pss_mb", []),
            ("open files, by minutes", "open_files", [_at_rest(row, "open_files")]),
            ("connections, by minutes", "connections", [_at_rest(row, "connections")]),
        )
    ]


def _changes(rows: Rows) -> list[Panel]:
    (row,) = rows
    course = row["course"]
    return [
        Panel(
            title, [Line(name, [(one["seconds"], one[figure]) for one in course]) for name, figure in lines]
        )
        for title, lines in (
            ("ms to an answer, by seconds", (("median", "p50_ms"), ("p99", "p99_ms"))),
            ("failed predictions, by seconds", (("failed", "failed"),)),
        )
    ]


_CHARTS: Mapping[str, tuple[str, Callable[[Rows], list[Panel]]]] = {
    "load": ("Single texts: throughput and times to an answer, by callers", _load),
    "embeddings": ("Vectors of single texts: throughput and times to an answer, by callers", _load),
    "learning": ("Times to an answer with and without labels that stream in", _learning),
    "corrections": ("How soon corrections are answered", _corrections),
    "soak": ("Memory, open files and connections under mixed load", _soak),
    "changes": ("Predictions while versions change and processes are killed", _changes),
}


def _callers(rows: Rows) -> list[str]:
    return [f"{row['callers']} caller{'s' if row['callers'] > 1 else ''}" for row in rows]


def _places(rows: Rows, figure: str) -> list[tuple[float, float]]:
    """A row after the other, side by side."""
    return [(float(place), row[figure]) for place, row in enumerate(rows)]


def _over_time(row: Mapping[str, Any], name: str) -> list[tuple[float, float]]:
    return list(zip(row["minutes"], row[name], strict=True))


def _at_rest(row: Mapping[str, Any], name: str) -> Line:
    """Before the load and after it."""
    last = row["minutes"][-1]
    return Line("at rest", [(0.0, row[f"{name}_before"]), (last, row[f"{name}_at_rest"])])
