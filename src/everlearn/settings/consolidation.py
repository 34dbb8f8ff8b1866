"""How a run's trunk is tuned."""

from __future__ import annotations

from everlearn.settings.section import Section, setting

__all__ = ["ConsolidationSettings"]


class ConsolidationSettings(Section):
    """How a run's trunk is tuned; given anew each time."""

    epochs: int = setting(6, "--epochs", "N", ge=1)
    """Passes over the texts, at most; it stops earlier by the exam."""
    rank: int = setting(16, "--rank", "N", ge=1)
    """Rank of the adapters (LoRA); their scaling is 1."""
    learning_rate: float = setting(1e-3, "--learning-rate", "RATE", gt=0.0)
    """Peak rate of the adapters."""
    batch_size: int = setting(32, "--batch-size", "N", ge=1)
    """Texts of a gradient step."""
    max_length: int = setting(128, "--max-length", "N", ge=3)
    """Tokens of a text that a step sees."""
    max_examples: int = setting(100_000, "--max-examples", "N", ge=1)
    """Examples that are tuned on, at most, those whose ids have the smallest hashes; bounds time and
    memory."""
    seed: int = setting(0, "--seed", "N", ge=0)
    """Seed of everything random."""
