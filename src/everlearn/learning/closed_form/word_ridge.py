"""Ridge regression on the words of texts: the expert that weighs each word by what the others say already.

Naive Bayes counts every word as if it stood alone, and a sketch of n-grams has too few components for long
texts. Here each hashed gram has a weight of its own for each class, fitted on the texts of a bounded sample:

    W = Xᵀ (X Xᵀ + λ I)⁻¹ Y

with X the texts' unit-length log(1 + count) vectors and Y their classes, one-hot. Y is not centred: of a text
whose words are unknown nothing is said. λ is the same for all sets: from a third of it to three times as much
the log-loss differs by less than a hundredth.

Of few texts it is solved exactly (see ``live/fresh_words``), of many by conjugate gradients (Hestenes and
Stiefel, 1952), all classes side by side, which need nothing but products with the sparse X.

Legend: S texts that are fitted on, J that are judged, B others, H hash columns, K of them with a weight, U
columns of some texts, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch

from everlearn.learning.closed_form.naive_bayes import GRAM_UNIT
from everlearn.learning.closed_form.statistics.count_sums import present_columns
from everlearn.types import FloatArray

__all__ = ["STRENGTH", "WordRidge", "WordTexts", "fit_many"]

STRENGTH = 0.3
"""λ, in units of a text's squared length."""
_MOST_STEPS = 48
_TOLERANCE = 1e-3  # of a class's residual, relative to what there was to explain
_LEFT_OUT_SHARE = 8  # one of so many texts is left out at once, at most

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class WordTexts:
    """Texts to fit on, in an order that depends on their set alone.

    Attributes:
        counts_SH: Hashed counts of their grams.
        classes_S: Their classes.
        num_classes: C.
    """

    counts_SH: sp.csr_matrix
    classes_S: npt.NDArray[np.int64]
    num_classes: int

    def first(self, most_products: int, least: int) -> WordTexts:
        """The first texts whose grams, times the classes, are at most so many; but so many texts at least."""
        grams_S = self.counts_SH.indptr[1:].astype(np.float64)
        num = int(np.searchsorted(grams_S * self.num_classes, most_products, side="right"))
        num = min(max(num, least), len(self.classes_S))
        return WordTexts(self.counts_SH[:num], self.classes_S[:num], self.num_classes)


class WordRidge:
    """Weights of grams.

    Args:
        columns_K: Hash columns that have weights, ascending.
        weights_KC: Their weights.
        known_K: How much of each the texts had that were fitted on: the sum of its squared values.
    """

    def __init__(
        self, columns_K: npt.NDArray[np.int64], weights_KC: Float32Array, known_K: Float32Array
    ) -> None:
        self._columns_K = columns_K
        self._weights_KC = weights_KC
        self._known_K = known_K

    @property
    def num_classes(self) -> int:
        """C."""
        return int(self._weights_KC.shape[1])

    @property
    def num_bytes(self) -> int:
        """How much memory the weights take."""
        return self._columns_K.nbytes + self._weights_KC.nbytes + self._known_K.nbytes

    def to_tensors(self) -> dict[str, torch.Tensor]:
        """Everything, so that it comes back to the bit."""
        arrays = {"columns": self._columns_K, "weights": self._weights_KC, "known": self._known_K}
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, torch.Tensor]) -> WordRidge:
        """The inverse of ``to_tensors``."""
        return cls(*(tensors[name].numpy() for name in ("columns", "weights", "known")))

    @classmethod
    def of_duals(cls, counts_SH: sp.csr_matrix, duals_SC: FloatArray) -> WordRidge:
        """Weights Xᵀ A of what the solution says of each text."""
        columns_K, texts_SK = compact(counts_SH)
        weights_KC = np.asarray(texts_SK.T @ duals_SC.astype(np.float32))
        return cls(columns_K, weights_KC, _known(texts_SK))

    def scores(self, counts_BH: sp.csr_matrix) -> FloatArray:
        """Scores (B, C); 0 for texts without known grams."""
        columns_U, texts_BU = compact(counts_BH)
        places_U, is_known_U = self._find(columns_U)
        weights_UC = self._weights_KC[places_U] if len(self._columns_K) else np.zeros((len(columns_U), 0))
        weights_UC[~is_known_U] = 0
        if not weights_UC.size:
            return np.zeros((counts_BH.shape[0], self.num_classes))
        return np.asarray(texts_BU @ weights_UC, dtype=np.float64)

    def openness(self, columns_U: npt.NDArray[np.int64]) -> FloatArray:
        """How open the weights of grams (U,) still are: 1 where nothing is known, towards 0 with more texts.

        The diagonal of the posterior covariance, in units of the prior's, as if grams came one at a time.
        """
        places_U, is_known_U = self._find(columns_U)
        known_U = np.zeros(len(columns_U))
        known_U[is_known_U] = self._known_K[places_U[is_known_U]]
        return np.asarray(STRENGTH / (STRENGTH + known_U))

    def _find(self, columns_U: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
        """Place of each column among the K, and whether it is there at all."""
        if not len(self._columns_K):
            return np.zeros(len(columns_U), np.intp), np.zeros(len(columns_U), bool)
        places_U = np.minimum(np.searchsorted(self._columns_K, columns_U), len(self._columns_K) - 1)
        return places_U, self._columns_K[places_U] == columns_U


def compact(counts_BH: sp.csr_matrix) -> tuple[npt.NDArray[np.int64], sp.csr_matrix]:
    """The columns (U,) that texts have, ascending, and their vectors of about unit length (B, U), float32."""
    columns_U, places = present_columns(counts_BH)
    values = (counts_BH.data / GRAM_UNIT).astype(np.float32)
    shape = (counts_BH.shape[0], len(columns_U))
    return columns_U, sp.csr_matrix((values, places, counts_BH.indptr), shape=shape)


def fit_many(texts: WordTexts, num_judged: int) -> tuple[WordRidge, FloatArray]:
    """Weights fitted on many texts, and scores (J, C) of the first so many by weights that did not see them.

    Those are left out an eighth of all texts at a time, at most: what is judged is about what is served.
    """
    columns_K, texts_SK = compact(texts.counts_SH)
    targets_SC = np.zeros((len(texts.classes_S), texts.num_classes), np.float32)
    targets_SC[np.arange(len(texts.classes_S)), texts.classes_S] = 1
    ridge = WordRidge(columns_K, _weights(texts_SK, targets_SC), _known(texts_SK))
    judged_JC = np.zeros((num_judged, texts.num_classes))
    num_parts = math.ceil(num_judged * _LEFT_OUT_SHARE / max(1, len(targets_SC)))
    for part in np.array_split(np.arange(num_judged), num_parts) if num_parts else ():
        is_left = np.ones(len(targets_SC), bool)
        is_left[part] = False
        judged_JC[part] = texts_SK[part] @ _weights(texts_SK[is_left], targets_SC[is_left])
    return ridge, judged_JC


def _known(texts_SK: sp.csr_matrix) -> Float32Array:
    squares = np.bincount(texts_SK.indices, weights=texts_SK.data**2, minlength=texts_SK.shape[1])
    return squares.astype(np.float32)


def _weights(texts_SK: sp.csr_matrix, targets_SC: Float32Array) -> Float32Array:
    """Conjugate gradients in the duals, one system a class; a class that is done goes on and does no harm."""
    transposed_KS = texts_SK.T.tocsr()
    duals_SC = np.zeros_like(targets_SC)
    residuals_SC, directions_SC = targets_SC.copy(), targets_SC.copy()
    squares_C = _squares(residuals_SC)
    done_C = _TOLERANCE**2 * squares_C
    for _ in range(_MOST_STEPS):
        if (squares_C <= done_C).all():
            break
        moved_SC = texts_SK @ (transposed_KS @ directions_SC)
        moved_SC += STRENGTH * directions_SC
        curvature_C = np.einsum("sc,sc->c", directions_SC, moved_SC)
        steps_C = _quotients(squares_C, curvature_C)
        duals_SC += steps_C * directions_SC
        residuals_SC -= steps_C * moved_SC
        before_C, squares_C = squares_C, _squares(residuals_SC)
        directions_SC *= _quotients(squares_C, before_C)
        directions_SC += residuals_SC
    return np.asarray(transposed_KS @ duals_SC)


def _squares(values_SC: Float32Array) -> Float32Array:
    # Not by BLAS, whose threads wait for each other where others use the cores.
    return np.asarray(np.einsum("sc,sc->c", values_SC, values_SC))


def _quotients(above_C: Float32Array, below_C: Float32Array) -> Float32Array:
    """0 where there is nothing left to explain."""
    found_C = np.zeros_like(above_C)
    np.divide(above_C, below_C, out=found_C, where=below_C > 0)
    return found_C
