"""Codes files, which learners that read texts cannot learn from."""

from __future__ import annotations

from everlearn.errors import ConfigError
from everlearn.stream.files.codes import CodesSource
from everlearn.stream.source import Source

__all__ = ["refuse_codes"]


def refuse_codes(source: Source | None) -> None:
    """Raise ConfigError where a stream holds codes."""
    if isinstance(source, CodesSource):
        raise ConfigError(
            f"{source.name} holds codes, which only the closed-form learner can learn from; give it the texts"
        )
