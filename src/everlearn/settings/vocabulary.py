"""Whether the vocabulary of a language model grows with its stream."""

from __future__ import annotations

from everlearn.settings.conditions import OF_DOCUMENTS, is_not
from everlearn.settings.section import Section, setting

__all__ = ["VocabularySettings"]

_GROWING = (is_not("learner.vocabulary.words", 0),)


class VocabularySettings(Section, panel="Language model (--task lm)", needs=OF_DOCUMENTS):
    """Whether the vocabulary of a language model grows with its stream."""

    words: int = setting(0, "--grow-vocabulary", "WORDS", ge=0, default_text="0, never", shown_for=("lm",))
    """Add up to so many words to the tokenizer (start with a few hundred). The first 40,000 bytes of text are
    watched; then the words that are frequent there are added. Text in a language or field that the tokenizer
    splits into small pieces then takes fewer tokens and is learned and written faster. In a
    --config file, learner.vocabulary also has watch_bytes, min_count, row_learning_rate, alone_steps and
    row_passes."""
    min_count: int = setting(5, unit="N", ge=1, needs=_GROWING)
    """Times that a word must have come to be added."""
    watch_bytes: int = setting(40_000, unit="SIZE", ge=1, needs=_GROWING)
    """Bytes of text that are watched before words are added."""
    row_learning_rate: float = setting(2e-3, unit="RATE", gt=0.0, needs=_GROWING)
    """Of the rows of new words in embedding and head."""
    alone_steps: int = setting(20, unit="STEPS", ge=0, needs=_GROWING)
    """First steps with the new words, in which nothing but their rows is trained."""
    row_passes: int = setting(2, unit="N", ge=0, needs=_GROWING)
    """Passes over what was watched in which new words learn to mean what their pieces meant; 0: none. A model
    of one layer is not aligned."""
