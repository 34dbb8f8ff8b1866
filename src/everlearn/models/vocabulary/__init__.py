"""Vocabularies that follow their stream: watching, proposing, growing, pruning.

A tokenizer that was made for other texts breaks the words of a stream into many tokens. ``VocabularyWatch``
counts that, ``propose`` picks the words that would save most tokens, ``grow`` adds them to tokenizer and
model at a boundary of the stream, ``everlearn.models.added_rows`` trains their rows alone at first, and
``prune`` drops what the stream never uses.
"""

from __future__ import annotations

from everlearn.models.vocabulary.growth import Growth, grow
from everlearn.models.vocabulary.proposal import propose
from everlearn.models.vocabulary.pruning import Pruning, prune
from everlearn.models.vocabulary.watch import Fertility, VocabularyWatch, WatchConfig

__all__ = ["Fertility", "Growth", "Pruning", "VocabularyWatch", "WatchConfig", "grow", "propose", "prune"]
