"""The durable log of a run: journal, checkpoints, and the history of what was decided."""

from __future__ import annotations

from everlearn.journal.checkpoints import Checkpoint, CheckpointStore
from everlearn.journal.history import History
from everlearn.journal.journal import Journal

__all__ = ["Checkpoint", "CheckpointStore", "History", "Journal"]
