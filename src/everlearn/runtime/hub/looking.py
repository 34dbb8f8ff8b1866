"""What can be seen of a hub without opening it: another process may have it meanwhile."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from everlearn.errors import EverlearnError, RunError, StateError
from everlearn.runtime.hub.tenants import Tenants
from everlearn.runtime.run import Run
from everlearn.types import Json

__all__ = ["FORMAT", "RECORD", "TenantStats", "known_settings", "stats_of", "tenants_at", "told_stats"]

RECORD = "hub.json"
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantStats:
    """Figures of a tenant; all but its name None: it has learned nothing.

    Attributes:
        tenant: Its name.
        examples: That its run has taken.
        labels: That it knows.
        accuracy: Of predictions before learning; of sets of labels, micro-F1.
        max_examples: Its quota, whether it has learned or not; None: no bound.
        problem: Why nothing more can be told of it; None: nothing is wrong.
    """

    tenant: str
    examples: int | None
    labels: int | None
    accuracy: float | None
    max_examples: int | None
    problem: str | None = None

    def to_json(self) -> dict[str, Json]:
        """As printed by ``hub stats --json``."""
        return asdict(self)


def known_settings(path: Path) -> dict[str, Any] | None:
    """The settings that a hub was made with; None: there is no hub.

    Raises:
        StateError: Its record is damaged, or of another format version.
    """
    record = path / RECORD
    try:
        values = json.loads(record.read_text(encoding="utf-8"))
        known, number = dict(values["settings"]), values["format"]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StateError(f"{record} cannot be read: {error}; restore it from a backup") from error
    if number != FORMAT:
        raise StateError(f"{record} is of format {number}; this everlearn knows {FORMAT}")
    return known


def tenants_at(path: Path) -> Tenants:
    """The tenants of a hub, to look at.

    Raises:
        RunError: There is no hub.
        StateError: Its record is damaged.
    """
    if known_settings(path) is None:
        makes = "" if path.exists() else f"; everlearn hub add {path} TENANT makes one"
        raise RunError(f"{path} is no hub{makes}")
    return Tenants(path, is_owner=False)


def stats_of(tenants: Tenants, name: str, summary: Mapping[str, Json] | None = None) -> TenantStats:
    """Figures of a tenant.

    Args:
        tenants: Of a hub.
        name: The tenant's.
        summary: Of its run, where that is open; None: as it was saved last.

    Raises:
        RunError: There is no such tenant. (What is damaged is told as its problem: others are told of too.)
    """
    if name not in tenants:
        tenants.record(name)  # says which there are
    max_examples, problem, found = None, None, dict(summary or {})
    try:
        max_examples, folder = tenants.record(name).max_examples, tenants.run_folder(name)
        if summary is None and folder.exists():
            with Run.open(folder, mode="read") as run:
                found = run.stats()
    except EverlearnError as error:
        problem = str(error)
    return told_stats(name, found, max_examples, problem)


def told_stats(
    name: str, summary: Mapping[str, Json], max_examples: int | None = None, problem: str | None = None
) -> TenantStats:
    """Figures of a tenant, of the summary of its run; see ``TenantStats``."""
    return TenantStats(
        tenant=name,
        examples=summary.get("examples"),
        labels=summary.get("classes"),
        accuracy=summary.get("prequential_accuracy", summary.get("prequential_micro_f1")),
        max_examples=max_examples,
        problem=problem,
    )
