"""How text is written."""

from __future__ import annotations

from everlearn.settings.section import Section, setting

__all__ = ["WritingSettings"]


class WritingSettings(Section):
    """How text is written; given anew each time."""

    max_new_tokens: int = setting(128, "--max-new-tokens", "N", ge=1)
    """Most tokens that are written."""
    temperature: float = setting(0.0, "--temperature", "T", ge=0.0)
    """0: always the most probable token."""
    top_p: float = setting(1.0, "--top-p", "P", gt=0.0, le=1.0)
    """Draw from the most probable tokens with this share."""
    num_beams: int = setting(1, "--beams", "N", ge=1, le=64)
    """Width of the beam search."""
    seed: int = setting(0, "--seed", "N")
    """Of the draws."""
    stop: tuple[str, ...] = setting((), "--stop", "TEXT")
    """End where this is written; may be given several times."""
