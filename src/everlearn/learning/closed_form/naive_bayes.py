"""Complement naive Bayes on hashed word grams, from exact sums by class.

After Rennie, Shih, Teevan and Karger, "Tackling the poor assumptions of naive Bayes text
classifiers" (ICML 2003): a class is judged by how little of the text's words the *other* classes
have, and the weights of each class are normalised.

Legend: B examples, C classes, H hash columns, K columns with a count.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch

from everlearn.learning.closed_form.statistics.count_sums import present_columns
from everlearn.types import FloatArray, Json

__all__ = ["GRAM_UNIT", "NaiveBayesScorer", "complement_scores"]

GRAM_UNIT = 255.0
"""A gram of weight 1 in a unit-length text, see ``Code.gram_values``."""
_DENSE_ENTRIES = 2_000_000  # bound on the temporary (grams x classes) of leave-one-out scoring


class NaiveBayesScorer:
    """Weights of complement naive Bayes, derived from the sums.

    Of the H columns only the K with a count are held; for all others the weights are those of a gram never
    seen.

    Args:
        sums_CH: CSR (C, H) of a ``CountSums``; not kept.
        smoothing: Additive smoothing of each column, in units of one text.
    """

    def __init__(self, sums_CH: sp.csr_matrix, smoothing: float) -> None:
        alpha = smoothing * GRAM_UNIT
        num_columns = sums_CH.shape[1]
        self._alpha = alpha
        self._columns_K, positions = np.unique(sums_CH.indices, return_inverse=True)
        shape = (sums_CH.shape[0], len(self._columns_K))
        totals_K = np.bincount(positions, weights=sums_CH.data, minlength=shape[1])
        class_totals = np.asarray(sums_CH.sum(axis=1), dtype=np.float64).ravel()
        self._denominators_C = totals_K.sum() - class_totals + alpha * num_columns
        self._log_totals_K = np.log(totals_K + alpha)
        # log of a class's complement differs from log of the total only where the class has the
        # gram, so a sparse correction holds all weights.
        correction = np.log(totals_K[positions] - sums_CH.data + alpha)
        correction -= self._log_totals_K[positions]
        corrections_CK = sp.csr_matrix((correction, positions, sums_CH.indptr), shape=shape)
        log_sum = self._log_totals_K.sum() + (num_columns - shape[1]) * np.log(alpha)
        self._log_denominators_C = np.log(self._denominators_C)
        self._norms_C = (
            self._log_denominators_C
            - (log_sum + np.asarray(corrections_CK.sum(axis=1)).ravel()) / num_columns
        )
        self._corrections_KC = corrections_CK.T.tocsr()

    @property
    def num_bytes(self) -> int:
        """About how much memory the weights take."""
        corrections = self._corrections_KC
        return int(self._columns_K.nbytes + corrections.data.nbytes + corrections.indices.nbytes)

    def to_state(self) -> tuple[dict[str, torch.Tensor], dict[str, Json]]:
        """Everything derived, as tensors and JSON, so that it comes back to the bit."""
        corrections = self._corrections_KC
        arrays = {
            "columns": self._columns_K,
            "denominators": self._denominators_C,
            "log_denominators": self._log_denominators_C,
            "log_totals": self._log_totals_K,
            "norms": self._norms_C,
            "corrections.data": corrections.data,
            "corrections.indices": corrections.indices,
            "corrections.indptr": corrections.indptr,
        }
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        return tensors, {"alpha": self._alpha, "num_classes": corrections.shape[1]}

    @classmethod
    def from_state(cls, tensors: Mapping[str, torch.Tensor], data: Mapping[str, Json]) -> NaiveBayesScorer:
        """The inverse of ``to_state``."""
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        scorer = cls.__new__(cls)
        scorer._alpha = float(data["alpha"])
        scorer._columns_K = arrays["columns"]
        scorer._denominators_C = arrays["denominators"]
        scorer._log_denominators_C = arrays["log_denominators"]
        scorer._log_totals_K = arrays["log_totals"]
        scorer._norms_C = arrays["norms"]
        corrections = tuple(arrays[f"corrections.{name}"] for name in ("data", "indices", "indptr"))
        shape = (len(arrays["columns"]), int(data["num_classes"]))
        scorer._corrections_KC = sp.csr_matrix(corrections, shape=shape)
        scorer._corrections_KC.check_format()
        return scorer

    def scores(self, counts_BH: sp.csr_matrix) -> FloatArray:
        """Scores (B, C), centred over the classes; 0 for texts without grams."""
        columns, positions = present_columns(counts_BH)
        num_rows = counts_BH.shape[0]
        counts = sp.csr_matrix(
            (counts_BH.data.astype(np.float64), positions, counts_BH.indptr), shape=(num_rows, len(columns))
        )
        places, is_known = self._find(columns.astype(np.int32))
        log_totals = np.full(len(columns), np.log(self._alpha))
        log_totals[is_known] = self._log_totals_K[places[is_known]]
        lengths_B = np.asarray(counts.sum(axis=1)).ravel()
        own_BC = np.asarray((counts[:, is_known] @ self._corrections_KC[places[is_known]]).todense())
        return complement_scores(
            lengths_B, self._log_denominators_C, counts @ log_totals, own_BC, self._norms_C
        )

    def scores_without_self(
        self, counts_BH: sp.csr_matrix, classes_B: npt.NDArray[np.int64], sums_CH: sp.csr_matrix
    ) -> FloatArray:
        """Leave-one-out scores (B, C) of learned examples, centred.

        Each example's own counts are taken out of its class's sums. (The class norms, which hang
        on all H columns, are left as they are: one text changes them by less than one in H.)

        Args:
            counts_BH: Hashed counts of the examples.
            classes_B: Their classes.
            sums_CH: The sums that the scorer was made of.
        """
        num_classes = len(self._denominators_C)
        shape = (num_classes, len(self._columns_K))
        sums_CK = sp.csr_matrix((sums_CH.data, self._find(sums_CH.indices)[0], sums_CH.indptr), shape=shape)
        sums_KC = sums_CK.T.tocsr()
        totals_K = np.asarray(sums_CK.sum(axis=0), dtype=np.float64).ravel()
        result = np.zeros((counts_BH.shape[0], num_classes))
        lengths = np.diff(counts_BH.indptr)
        rows_at_once = max(1, _DENSE_ENTRIES // max(1, int(lengths.max(initial=1)) * num_classes))
        for start in range(0, len(lengths), rows_at_once):
            block = slice(start, min(start + rows_at_once, len(lengths)))
            result[block] = self._without_self(counts_BH[block], classes_B[block], sums_KC, totals_K)
        result -= result.mean(axis=1, keepdims=True)
        return result

    def _find(self, columns: npt.NDArray[np.int32]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
        """Place of each column among the K, and whether it is there at all."""
        places = np.searchsorted(self._columns_K, columns)
        is_known = places < len(self._columns_K)
        is_known[is_known] = self._columns_K[places[is_known]] == columns[is_known]
        return places, is_known

    def _without_self(
        self,
        counts_BH: sp.csr_matrix,
        classes_B: npt.NDArray[np.int64],
        sums_KC: sp.csr_matrix,
        totals_K: FloatArray,
    ) -> FloatArray:
        num_classes = len(self._denominators_C)
        num_rows = counts_BH.shape[0]
        places, values = self._find(counts_BH.indices)[0], counts_BH.data.astype(np.float64)
        row_of = np.repeat(np.arange(num_rows), np.diff(counts_BH.indptr))
        others = np.ones((num_rows, num_classes))
        others[np.arange(num_rows), classes_B] = 0.0
        in_class = np.asarray(sums_KC[places].todense(), dtype=np.float64)
        complement = totals_K[places][:, None] - in_class + self._alpha
        complement -= others[row_of] * values[:, None]
        per_row = sp.csr_matrix(
            (values, np.arange(len(values)), counts_BH.indptr), shape=(num_rows, len(values))
        )
        sums = np.asarray(per_row @ np.log(complement))
        lengths_B = np.bincount(row_of, weights=values, minlength=num_rows)
        log_denominators = np.log(self._denominators_C - others * lengths_B[:, None])
        return np.asarray((lengths_B[:, None] * log_denominators - sums) / self._norms_C)


def complement_scores(
    lengths_B: FloatArray,
    log_denominators_C: FloatArray,
    log_totals_B: FloatArray,
    own_BC: FloatArray,
    norms_C: FloatArray,
) -> FloatArray:
    """Scores (B, C) of texts, centred over the classes.

    Args:
        lengths_B: Sum of a text's counts.
        log_denominators_C: Log of what all other classes have.
        log_totals_B: Sum over a text's grams of the log of what all classes have of them.
        own_BC: What is to be added to that because a class's own grams do not count for its complement.
        norms_C: Of each class's weights.
    """
    raw_BC = lengths_B[:, None] * log_denominators_C - log_totals_B[:, None] - own_BC
    raw_BC /= norms_C
    raw_BC -= raw_BC.mean(axis=1, keepdims=True)
    return np.asarray(raw_BC)
