"""How a tenant went, as series for charts; all from its journal, so that the newest step is in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import islice

from everlearn.journal.rows.progress import arrived_between, first_offsets, places, share_right
from everlearn.label_set import labels_in
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.serving.place import Place
from everlearn.runtime.serving.plain import plain
from everlearn.types import Json

__all__ = ["history_series"]

_MOST_LABELS = 12
_OTHER = "other"


def history_series(place: Place, asked: Mapping[str, Json]) -> dict[str, Json]:
    """Points of the past, what arrived between them by label, and the newest decisions.

    The rolling accuracy of a point is that of the ``run.rolling_window`` examples that had arrived last, by
    their present targets: corrections count.
    """
    folder = place.folder(asked["tenant"])
    if not folder.exists():
        return {"points": [], "label_counts": [], "decisions": []}
    with RunFolder.snapshot_of(folder) as run:
        journal, window = run.journal, run.config.run.rolling_window
        ends = places(journal, asked["points"])
        has_labels = run.task.counts_by_label
        known = _known_at(run, [end.offset for end in ends]) if has_labels else [0] * len(ends)
        points = [
            {
                "step": end.step,
                "time": end.time,
                "examples": end.offset,
                "rolling_accuracy": (
                    share_right(journal, max(1, end.offset - window + 1), end.offset) if has_labels else None
                ),
                "labels": labels,
            }
            for end, labels in zip(ends, known, strict=True)
        ]
        counts = _label_counts(run, [end.offset for end in ends]) if has_labels else []
        return plain(
            {
                "points": points,
                "label_counts": [
                    {"time": end.time, "counts": dict(some)} for end, some in zip(ends, counts, strict=False)
                ],
                "decisions": [
                    asdict(decision)
                    for decision in reversed(list(islice(run.history.newest_decisions(), asked["points"])))
                ],
            }
        )


def _known_at(run: RunFolder, offsets: Sequence[int]) -> list[int]:
    """How many labels had been said by each of these offsets."""
    first: dict[str, int] = {}
    for target, offset in first_offsets(run.journal).items():
        for label in _labels_of(run, target):
            first[label] = min(offset, first.get(label, offset))
    return [sum(offset <= end for offset in first.values()) for end in offsets]


def _label_counts(run: RunFolder, offsets: Sequence[int]) -> list[Mapping[str, int]]:
    """What arrived between these offsets, by label: the most frequent of all, and the others together."""
    by_target = arrived_between(run.journal, offsets)
    by_label = [_by_label(run, counts) for counts in by_target]
    total: Counter[str] = Counter()
    for counts in by_label:
        total.update(counts)
    shown = {label for label, _ in total.most_common(_MOST_LABELS)}
    result: list[Mapping[str, int]] = []
    for counts in by_label:
        told = {label: count for label, count in counts.items() if label in shown}
        others = sum(count for label, count in counts.items() if label not in shown)
        if others:  # a label may be called so, too
            told[_OTHER] = told.get(_OTHER, 0) + others
        result.append(told)
    return result


def _by_label(run: RunFolder, counts: Mapping[str, int]) -> Counter[str]:
    found: Counter[str] = Counter()
    for target, count in counts.items():
        for label in _labels_of(run, target):
            found[label] += count
    return found


def _labels_of(run: RunFolder, target: str) -> tuple[str, ...]:
    return labels_in(target) if run.task.targets_are_sets else (target,)
