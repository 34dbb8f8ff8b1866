"""Samples of what was written along the way: chosen while a stream is learned, shown in the report."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from everlearn.journal.journal import Journal
from everlearn.journal.rows.entries import entry_of
from everlearn.types import Json

__all__ = ["shown_samples", "without_samples"]


def shown_samples(journal: Journal, chosen: Sequence[Mapping[str, Json]]) -> list[dict[str, Json]]:
    """What was written along the way, as far as the journal keeps it."""
    shown = []
    for one in chosen:
        entry = entry_of(journal, one["id"])
        if entry is None:
            continue  # deleted
        arrival = next((found for _, found in journal.examples.arrivals(entry.offset, entry.offset)), None)
        if arrival is None or arrival.example.text is None:
            continue  # its text was dropped
        sample: dict[str, Json] = {
            "input": arrival.example.text,
            "output": "" if arrival.prediction is None else arrival.prediction.label or "",
            "target": journal.standings.present_target(entry.offset, entry.target),
        }
        shown.append(sample | {"examples": one["examples"]})
    return shown


def without_samples(run: Mapping[str, Json], ids: Collection[str]) -> dict[str, Json]:
    """What a checkpoint keeps beside the state, without samples of these; older ones do not say of whom."""
    scores = run.get("scores")
    if not isinstance(scores, Mapping) or "samples" not in scores:
        return dict(run)
    kept = [one for one in scores["samples"] if one.get("id", "") not in {*ids, ""}]
    return {**run, "scores": {**scores, "samples": kept}}
