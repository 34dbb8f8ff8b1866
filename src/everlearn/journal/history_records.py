"""What happened to the states of a run, as values: saved, served, judged, and what of its history changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from everlearn.types import Json

__all__ = ["CheckpointRecord", "Decision", "Revision", "Version"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A change of history: from ``first_step`` to ``last_step`` the fold is another one since.

    Attributes:
        revision: Its number, from 1.
        kind: "deletion", "rollback", "quarantine", "unlearnable", "consolidation" or "damage".
        first_step: The first step concerned.
        last_step: The last.
        reason: Why, in a sentence.
        detail: Figures, JSON.
        time: When.
    """

    revision: int
    kind: str
    first_step: int
    last_step: int
    reason: str
    detail: Mapping[str, Json]
    time: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointRecord:
    """A saved state.

    Attributes:
        file: Its name within the folder of checkpoints.
        step: The last step that it holds.
        revision: The last revision that it takes into account.
        chain: The chain after ``step``.
        sha256: Of the file.
        num_bytes: Of the file.
        time: When it was saved.
        generation: Of the codes that it is a fold of.
    """

    file: str
    step: int
    revision: int
    chain: bytes
    sha256: str
    num_bytes: int
    time: str
    generation: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A checkpoint that was accepted for serving.

    Attributes:
        version: Its number, from 1.
        parent: The version before it in its lineage.
        step: The last step that it holds.
        revision: The last revision that it takes into account.
        file: The checkpoint; None once it is retired.
        status: "kept" or "retired".
        reason: Why it was made, or why it was retired.
        fingerprint: The learner's.
        num_examples: Examples learned in it.
        scores: JSON.
        author: Who or what made it.
        time: When.
    """

    version: int
    parent: int | None
    step: int
    revision: int
    file: str | None
    status: str
    reason: str
    fingerprint: str
    num_examples: int
    scores: Mapping[str, Json]
    author: str
    time: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the guard (or somebody) decided.

    Attributes:
        decision: Its number, from 1.
        step: After which step.
        first_step: The first step of the interval that was judged.
        kind: "guard", "consolidation", "rollback", "readmission".
        verdict: "accepted", "rejected", "kept" …
        reason: In a sentence.
        numbers: The figures it rests on.
        time: When.
    """

    decision: int
    step: int
    first_step: int
    kind: str
    verdict: str
    reason: str
    numbers: Mapping[str, Json]
    time: str
