"""Simple learners of labels, to say what a figure is worth: what do they reach on the same stream?

They learn from codes that are there anyway, and their memory is bounded: a mean a label, counts in a table of
fixed height. Learning is addition, so what was learned can be taken out again.

Legend: B examples, C labels, D components, H rows of the table, U of them with a gram of the batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from everlearn.learning.closed_form.statistics.count_sums import gram_matrix
from everlearn.models.encoder.lexical import gram_features
from everlearn.types import Code, Example

__all__ = ["ClassMean", "MostFrequent", "SimpleLearner", "Words", "unit_vectors"]

IntArray = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32] | npt.NDArray[np.float64]

_MOST_LABELS = 1_000
_GRAM_BITS = 14
_GRAM_UNIT = 255.0  # a gram of weight 1, see ``Code.gram_values``
_SMOOTHING = 1.0  # of each row, in texts of one gram; what libraries take unless told otherwise
_NO_DENSE = np.zeros(0, np.int8)


class SimpleLearner(ABC):
    """Learns labels and predicts the one with the highest score; the earliest of equals."""

    def __init__(self) -> None:
        self._classes: dict[str, int] = {}
        self._counts = np.zeros(0, np.int64)

    @property
    def is_full(self) -> bool:
        """Whether there are more labels than it is made for: it would be slow, or need much memory."""
        return len(self._classes) > _MOST_LABELS

    def can_read(self, example: Example) -> bool:
        """Whether an example has what it looks at."""
        return example.code is not None

    def predict(self, examples: Sequence[Example]) -> list[str | None]:
        """A label for each example; None while none is learned."""
        if not examples or not self._counts.any():
            return [None] * len(examples)
        scores_BC = np.where(self._counts > 0, self._scores(examples), -np.inf)
        names = list(self._classes)
        return [names[k] for k in scores_BC.argmax(axis=1).tolist()]

    def learn(self, examples: Sequence[Example]) -> None:
        """Learn those that have a target."""
        self._take(examples, 1)

    def update(self, forgotten: Sequence[Example], learned: Sequence[Example]) -> None:
        """Take out pairs that were learned, then learn others."""
        self._take(forgotten, -1)
        self._take(learned, 1)

    def _take(self, examples: Sequence[Example], sign: int) -> None:
        with_target = [example for example in examples if example.target is not None]
        if not with_target:
            return
        classes_B = np.array(
            [self._classes.setdefault(str(one.target), len(self._classes)) for one in with_target]
        )
        missing = len(self._classes) - len(self._counts)
        self._counts = np.append(self._counts, np.zeros(missing, np.int64))
        np.add.at(self._counts, classes_B, sign)
        self._add(with_target, classes_B, sign)

    @abstractmethod
    def _scores(self, examples: Sequence[Example]) -> Scores:
        """Scores (B, C) or, where all examples have the same, (1, C)."""

    @abstractmethod
    def _add(self, examples: Sequence[Example], classes_B: IntArray, sign: int) -> None:
        """Learn examples, or take them out (sign -1)."""


class MostFrequent(SimpleLearner):
    """Always the label that was learned most often.

    Example:
        >>> learner = MostFrequent()
        >>> learner.learn([Example(id="1", target="spam"), Example(id="2", target="spam")])
        >>> learner.predict([Example(id="3")])
        ['spam']
    """

    @property
    def is_full(self) -> bool:
        """Never."""
        return False

    def can_read(self, example: Example) -> bool:
        """It looks at nothing."""
        return True

    def _scores(self, examples: Sequence[Example]) -> Scores:
        return np.repeat(self._counts[None].astype(np.float64), len(examples), axis=0)

    def _add(self, examples: Sequence[Example], classes_B: IntArray, sign: int) -> None:
        """Counting is done."""


class ClassMean(SimpleLearner):
    """The label whose mean is nearest, by the cosine.

    Args:
        leading_size: D, components of a code that are looked at: the first ones.
    """

    def __init__(self, leading_size: int) -> None:
        super().__init__()
        self._size = leading_size
        self._sums_CD = np.zeros((0, leading_size))

    def _scores(self, examples: Sequence[Example]) -> Scores:
        norms_C = np.linalg.norm(self._sums_CD, axis=1, keepdims=True)
        means_CD = (self._sums_CD / np.maximum(norms_C, 1e-9)).astype(np.float32)
        return np.asarray(unit_vectors(examples, self._size) @ means_CD.T)

    def _add(self, examples: Sequence[Example], classes_B: IntArray, sign: int) -> None:
        missing = len(self._counts) - len(self._sums_CD)
        if missing:
            self._sums_CD = np.concatenate([self._sums_CD, np.zeros((missing, self._size))])
        ones_CB = sp.csr_matrix(
            (np.full(len(classes_B), float(sign)), (classes_B, np.arange(len(classes_B)))),
            shape=(len(self._counts), len(classes_B)),
        )
        self._sums_CD += ones_CB @ unit_vectors(examples, self._size)


class Words(SimpleLearner):
    """Complement naive Bayes on hashed words and pairs of words, after Rennie et al. (ICML 2003).

    Texts without a code have their words read.
    """

    def __init__(self) -> None:
        super().__init__()
        self._sums_HC = np.zeros((1 << _GRAM_BITS, 8), np.float32)  # whole numbers
        self._totals_H = np.zeros(1 << _GRAM_BITS)
        self._totals_C = np.zeros(0)

    def can_read(self, example: Example) -> bool:
        """Whether it has words."""
        return example.code is not None or example.text is not None

    def _scores(self, examples: Sequence[Example]) -> Scores:
        alpha, num_labels = _SMOOTHING * _GRAM_UNIT, len(self._totals_C)
        counts_BH = gram_matrix([_words_of(example) for example in examples], _GRAM_BITS)
        rows_U, places = np.unique(counts_BH.indices, return_inverse=True)
        own_UC = self._sums_HC[rows_U, :num_labels]
        others_UC = np.log(self._totals_H[rows_U, None].astype(np.float32) - own_UC + np.float32(alpha))
        others_UC -= np.log(self._totals_C.sum() - self._totals_C + alpha * len(self._sums_HC))
        counts_BU = sp.csr_matrix(
            (counts_BH.data.astype(np.float32), places, counts_BH.indptr), shape=(len(examples), len(rows_U))
        )
        return np.asarray(-(counts_BU @ others_UC))

    def _add(self, examples: Sequence[Example], classes_B: IntArray, sign: int) -> None:
        num_labels = len(self._counts)
        self._totals_C = np.append(self._totals_C, np.zeros(num_labels - len(self._totals_C)))
        if num_labels > self._sums_HC.shape[1]:
            grown_HC = np.zeros((len(self._sums_HC), 2 * num_labels), np.float32)
            grown_HC[:, : self._sums_HC.shape[1]] = self._sums_HC
            self._sums_HC = grown_HC
        counts_BH = gram_matrix([_words_of(example) for example in examples], _GRAM_BITS)
        classes = np.repeat(classes_B, np.diff(counts_BH.indptr))
        values = sign * counts_BH.data
        # In one dimension and of one type, where it is ten times as quick.
        cells = counts_BH.indices.astype(np.int64) * self._sums_HC.shape[1] + classes
        np.add.at(self._sums_HC.reshape(-1), cells, values.astype(np.float32))
        self._totals_H += np.bincount(counts_BH.indices, values, len(self._sums_HC))
        self._totals_C += np.bincount(classes, values, num_labels)


def unit_vectors(examples: Sequence[Example], leading_size: int) -> npt.NDArray[np.float32]:
    """The leading parts of codes at unit length (B, D).

    Raises:
        ValueError: An example has no code.
    """
    codes = [example.code for example in examples if example.code is not None]
    if len(codes) < len(examples):
        raise ValueError("an example has no code")
    rows = np.array([code.dense[:leading_size] for code in codes], np.float32)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return rows


def _words_of(example: Example) -> Code:
    return example.code or Code(_NO_DENSE, *gram_features(example.text or ""))
