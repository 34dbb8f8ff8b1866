"""Where a run's learner comes from, beside its settings and its record."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from everlearn.models.encoder.pool import ModelPool

__all__ = ["Origin"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a learner is built with.

    Attributes:
        owner: The run's name, for messages.
        adapter: Folder of an adapter of the trunk, where codes are made with one.
        models: Gives encoders.
    """

    owner: str
    adapter: Path | None = None
    models: ModelPool = field(default_factory=ModelPool)
