"""What a learner reads of an example."""

from __future__ import annotations

from everlearn.types import Example

__all__ = ["has_input"]


def has_input(example: Example, *, reads_text: bool) -> bool:
    """Whether an example comes with what a learner reads.

    Args:
        example: As read from the journal.
        reads_text: Whether the learner reads texts; else codes.
    """
    return (example.text if reads_text else example.code) is not None
