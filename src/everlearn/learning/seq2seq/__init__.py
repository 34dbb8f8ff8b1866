"""The encoder-decoder learner: source text in, target text out, trained online one batch at a time."""

from __future__ import annotations

from everlearn.learning.seq2seq.config import Seq2SeqConfig
from everlearn.learning.seq2seq.learner import Seq2SeqLearner
from everlearn.learning.seq2seq.objective import Seq2SeqObjective, Seq2SeqResult
from everlearn.learning.seq2seq.pairs import pack_pair, unpack_pair

__all__ = [
    "Seq2SeqConfig",
    "Seq2SeqLearner",
    "Seq2SeqObjective",
    "Seq2SeqResult",
    "pack_pair",
    "unpack_pair",
]
