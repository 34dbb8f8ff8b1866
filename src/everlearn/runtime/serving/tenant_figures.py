"""What a tenant has learned, how well, and what it takes: figures for a list of tenants.

They are read from the journal and from what was saved, so that no run is opened for them that is not open.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from everlearn.journal.rows.label_tallies import held_by_target
from everlearn.label_set import labels_in
from everlearn.runtime.fold.published import publication_of
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.serving.place import Place
from everlearn.types import Json

__all__ = ["tenant_figures"]


@dataclass(frozen=True, slots=True)
class _Learned:
    """Examples and labels that are learned now; None: what the run learns has no labels."""

    examples: int | None
    labels: int | None


def tenant_figures(place: Place, asked: Mapping[str, Json]) -> dict[str, Json]:
    """Figures of a tenant.

    Returns:
        ``examples`` and ``labels`` that are learned, ``accuracy``, ``memory_bytes`` of what it predicts by,
        its quota ``max_examples``, and ``problem``: why something cannot be told.

    Raises:
        UnknownTenantError: There is no such tenant.
    """
    tenant = str(asked["tenant"])
    folder = place.folder(tenant)
    stats = place.stats(tenant)
    learned = _learned(folder) if folder.exists() and stats.problem is None else _Learned(0, 0)
    published = publication_of(folder).now() if folder.exists() else None
    return {
        "examples": stats.examples if learned.examples is None else learned.examples,
        "labels": learned.labels,
        "accuracy": stats.accuracy,
        "memory_bytes": None if published is None else published.num_bytes,
        "max_examples": stats.max_examples,
        "problem": stats.problem,
    }


def _learned(folder: Path) -> _Learned:
    with RunFolder.snapshot_of(folder) as run:
        if not run.task.counts_by_label:
            return _Learned(None, None)
        held = {target: count for target, count in held_by_target(run.journal).items() if count}
        labels = (
            {label for target in held for label in labels_in(target)} if run.task.targets_are_sets else held
        )
        return _Learned(sum(held.values()), len(labels))
