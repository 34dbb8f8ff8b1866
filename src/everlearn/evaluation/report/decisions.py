"""The decisions of a run's guard as a table of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from everlearn.evaluation.report.words import count, html_text, percent
from everlearn.types import Json

__all__ = ["decisions_section"]

_MAX_ROWS = 50


def decisions_section(decisions: Sequence[Mapping[str, Json]]) -> str:
    """A panel with what was decided, newest first; empty where nothing was.

    Args:
        decisions: ``decision, first_step, step, kind, verdict, reason, numbers`` of each, oldest first.
            ``numbers`` may hold the exams ``recent``, ``long_term`` and ``own`` with ``live_accuracy``,
            ``candidate_accuracy``, ``examples`` and ``p_value``; of texts ``live_bits_per_byte`` and
            ``candidate_bits_per_byte``.
    """
    if not decisions:
        return ""
    names = ("", "steps", "kind", "verdict", "recent exam", "long-term exam", "own exam", "reason")
    head = "".join(f"<th>{name}</th>" for name in names)
    rows = "".join(_row(decision) for decision in list(decisions)[: -_MAX_ROWS - 1 : -1])
    rejected = sum(decision["verdict"] == "rejected" for decision in decisions)
    caption = f"{count(len(decisions))} decisions, {count(rejected)} candidates rejected"
    if len(decisions) > _MAX_ROWS:
        caption += f"; the newest {_MAX_ROWS} are shown"
    return (
        '<section class="panel"><h2>Decisions</h2>'
        f'<div class="scroll"><table class="decisions"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody>'
        "</table></div>"
        f'<p class="caption">{caption}. An exam shows accuracy (of texts: bits per byte) of the version '
        "served, then of the candidate.</p></section>"
    )


def _row(decision: Mapping[str, Json]) -> str:
    cells = (
        count(decision["decision"]),
        f"{decision['first_step']}–{decision['step']}",
        decision["kind"],
        decision["verdict"],
        _exam(decision["numbers"].get("recent")),
        _exam(decision["numbers"].get("long_term")),
        _exam(decision["numbers"].get("own")),
        decision["reason"],
    )
    return "<tr>" + "".join(f"<td>{html_text(cell)}</td>" for cell in cells) + "</tr>"


def _exam(figures: Mapping[str, Json] | None) -> str:
    if not figures:
        return ""
    if figures.get("live_bits_per_byte") is not None:
        shown = f"{figures['live_bits_per_byte']:.4f} → {figures['candidate_bits_per_byte']:.4f}"
    elif figures.get("live_accuracy") is not None:
        shown = f"{percent(figures['live_accuracy'])} → {percent(figures['candidate_accuracy'])}"
    else:
        return ""
    return f"{shown} ({count(figures['examples'])})"
