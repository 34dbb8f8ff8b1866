"""The naive Bayes expert with everything that was learned, at any moment.

A ``NaiveBayesScorer`` is made of all sums at once. Here sums of before are joined by what came since,
column by column, and only what a text's own columns change is computed anew; scores are those of a scorer
made anew, to rounding.

Legend: B examples, C classes, K columns of the sums, U columns of some texts, E entries of sums (column and
class).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from everlearn.learning.closed_form.naive_bayes import GRAM_UNIT, complement_scores
from everlearn.learning.closed_form.statistics.count_sums import present_columns
from everlearn.types import FloatArray

__all__ = ["FreshBayes"]

IntArray = npt.NDArray[np.int64]

_CLASSES = 1 << 24
"""A column and a class are one number: column times this, plus class."""
_MOST_DENSE = 1 << 16
"""Numbers of a matrix up to which a sparse one takes longer to make."""


@dataclass(frozen=True, slots=True)
class _Entries:
    """The sums of some columns.

    Attributes:
        totals_U: Sums over all classes.
        places_E: Which of the columns each entry is of.
        classes_E: Its class.
        sums_E: Its sum.
    """

    totals_U: FloatArray
    places_E: IntArray
    classes_E: IntArray
    sums_E: FloatArray

    def corrections(self, alpha: float) -> FloatArray:
        """By how much the log of what other classes have differs from that of what all have (E,)."""
        totals_E = self.totals_U[self.places_E]
        return np.asarray(np.log(totals_E - self.sums_E + alpha) - np.log(totals_E + alpha))


class FreshBayes:
    """Scores of complement naive Bayes by sums that grow text by text.

    Args:
        sums_CH: Integer CSR (C, H) of a ``CountSums``; not kept.
        smoothing: Additive smoothing of each column, in units of one text.
    """

    def __init__(self, sums_CH: sp.csr_matrix, smoothing: float) -> None:
        self._alpha = smoothing * GRAM_UNIT
        self._num_columns = sums_CH.shape[1]
        by_column = sums_CH.tocsc()
        filled = np.flatnonzero(np.diff(by_column.indptr))
        # As small as they may be: this grows with the words that were seen, of which there is no end.
        self._columns_K = filled.astype(np.int32)
        self._starts = _small(np.append(by_column.indptr[filled], by_column.indptr[-1]))
        self._classes = _small(by_column.indices)
        self._sums = _small(by_column.data)
        # What came since: sums by column and class, which are one number, ascending. Replaced, never changed.
        self._since_keys: IntArray = np.zeros(0, np.int64)
        self._since_sums: FloatArray = np.zeros(0)
        self._last: tuple[IntArray, _Entries] | None = None  # of the columns that were asked for last
        self._of_classes: tuple[FloatArray, FloatArray] | None = None  # what scores need of classes alone
        self._class_totals: FloatArray = np.asarray(sums_CH.sum(axis=1), dtype=np.float64).ravel()
        everything = self._entries(filled)
        unseen = self._num_columns - len(filled)
        self._log_sum = float(np.log(everything.totals_U + self._alpha).sum() + unseen * np.log(self._alpha))
        self._correction_sums = _summed(
            everything.classes_E, everything.corrections(self._alpha), sums_CH.shape[0]
        )

    @property
    def num_bytes(self) -> int:
        """About how much memory the sums of before take."""
        return sum(one.nbytes for one in (self._columns_K, self._starts, self._classes, self._sums))

    def frozen(self) -> FreshBayes:
        """As it is now; it stays so while this one learns."""
        copy = FreshBayes.__new__(FreshBayes)
        copy.__dict__.update(self.__dict__)
        return copy

    def add(self, counts_BH: sp.csr_matrix, classes_B: IntArray, num_classes: int, sign: int = 1) -> None:
        """Learn texts, or take them out again.

        Args:
            counts_BH: Hashed counts of the texts, see ``gram_matrix``.
            classes_B: Their classes.
            num_classes: C, new ones included.
            sign: 1, or -1 to take out.
        """
        missing = num_classes - len(self._class_totals)
        if missing > 0:
            self._class_totals = np.append(self._class_totals, np.zeros(missing))
            self._correction_sums = np.append(self._correction_sums, np.zeros(missing))
        else:
            self._class_totals, self._correction_sums = (
                self._class_totals.copy(),
                self._correction_sums.copy(),
            )
        columns_U = np.unique(counts_BH.indices)
        self._count(self._known_entries(columns_U), -1)
        self._last = self._of_classes = None
        rows_E = np.repeat(classes_B, np.diff(counts_BH.indptr))
        values_E = sign * counts_BH.data.astype(np.float64)
        np.add.at(self._class_totals, rows_E, values_E)
        keys_E = counts_BH.indices.astype(np.int64) * _CLASSES + rows_E
        keys, places_E = np.unique(keys_E, return_inverse=True)
        self._add_since(keys, _summed(places_E, values_E, len(keys)))
        self._count(self._entries(columns_U), 1)

    def scores(self, counts_BH: sp.csr_matrix) -> FloatArray:
        """Scores (B, C), centred over the classes; 0 for texts without grams."""
        columns_U, places = present_columns(counts_BH)
        entries = self._known_entries(columns_U)
        self._last = columns_U, entries
        num_classes = len(self._class_totals)
        counts_BU = sp.csr_matrix(
            (counts_BH.data.astype(np.float64), places, counts_BH.indptr),
            shape=(counts_BH.shape[0], len(columns_U)),
        )
        shape = (len(columns_U), num_classes)
        corrections_UC: sp.csr_matrix | FloatArray
        if shape[0] * shape[1] <= _MOST_DENSE:
            corrections_UC = np.zeros(shape)
            corrections_UC[entries.places_E, entries.classes_E] = entries.corrections(self._alpha)
        else:
            at = (entries.places_E, entries.classes_E)
            corrections_UC = sp.csr_matrix((entries.corrections(self._alpha), at), shape=shape)
        denominators_C, norms_C = self._of_classes or self._classes_told()
        lengths_B = np.asarray(counts_BU.sum(axis=1)).ravel()
        log_totals_B = counts_BU @ np.log(entries.totals_U + self._alpha)
        own_BC = counts_BU @ corrections_UC
        own_BC = own_BC.toarray() if sp.issparse(own_BC) else np.asarray(own_BC)
        return complement_scores(lengths_B, denominators_C, log_totals_B, own_BC, norms_C)

    def _classes_told(self) -> tuple[FloatArray, FloatArray]:
        """Log of what all classes but each have, and the norm of each one's weights."""
        others_C = self._class_totals.sum() - self._class_totals
        denominators_C = np.log(others_C + self._alpha * self._num_columns)
        norms_C = denominators_C - (self._log_sum + self._correction_sums) / self._num_columns
        self._of_classes = denominators_C, norms_C
        return self._of_classes

    def _add_since(self, keys: IntArray, sums: FloatArray) -> None:
        """Add sums by key (unique, ascending)."""
        at = np.searchsorted(self._since_keys, keys)
        is_there = at < len(self._since_keys)
        is_there[is_there] = self._since_keys[at[is_there]] == keys[is_there]
        together = self._since_sums.copy()
        together[at[is_there]] += sums[is_there]
        is_new = ~is_there
        self._since_keys = np.insert(self._since_keys, at[is_new], keys[is_new])
        self._since_sums = np.insert(together, at[is_new], sums[is_new])

    def _count(self, entries: _Entries, sign: int) -> None:
        """Let what these columns add to the norms count, or no longer."""
        self._log_sum += sign * float((np.log(entries.totals_U + self._alpha) - np.log(self._alpha)).sum())
        np.add.at(self._correction_sums, entries.classes_E, sign * entries.corrections(self._alpha))

    def _known_entries(self, columns_U: IntArray) -> _Entries:
        """As ``_entries``; those of the texts that were asked for last are known."""
        last = self._last  # another thread may ask for others
        if last is not None and np.array_equal(last[0], columns_U):
            return last[1]
        return self._entries(columns_U)

    def _entries(self, columns_U: IntArray) -> _Entries:
        """The sums of some columns (unique, ascending)."""
        columns_U = columns_U.astype(np.int64)
        at_U = np.searchsorted(self._columns_K, columns_U.astype(np.int32))
        is_known_U = at_U < len(self._columns_K)
        is_known_U[is_known_U] = self._columns_K[at_U[is_known_U]] == columns_U[is_known_U]
        starts_U = np.where(is_known_U, self._starts[np.minimum(at_U, len(self._columns_K))], 0)
        stops_U = np.where(is_known_U, self._starts[np.minimum(at_U + 1, len(self._columns_K))], 0)
        places_E, from_E = _ranges(starts_U, stops_U)
        classes_E, sums_E = self._classes[from_E].astype(np.int64), self._sums[from_E].astype(np.float64)
        since_keys = self._since_keys
        bounds_2U = np.searchsorted(since_keys, [columns_U * _CLASSES, (columns_U + 1) * _CLASSES])
        new_places, new_from = _ranges(*bounds_2U)
        if len(new_from):
            keys = np.append(places_E, new_places) * _CLASSES
            keys += np.append(classes_E, since_keys[new_from] % _CLASSES)
            unique, which = np.unique(keys, return_inverse=True)
            sums_E = _summed(which, np.append(sums_E, self._since_sums[new_from]), len(unique))
            places_E, classes_E = unique // _CLASSES, unique % _CLASSES
            is_left = sums_E != 0.0
            places_E, classes_E, sums_E = places_E[is_left], classes_E[is_left], sums_E[is_left]
        totals_U = _summed(places_E, sums_E, len(columns_U))
        return _Entries(totals_U, places_E, classes_E, sums_E)


def _ranges(starts_U: IntArray, stops_U: IntArray) -> tuple[IntArray, IntArray]:
    """Which range each number of some ranges is of, and the number, range by range."""
    lengths_U = stops_U - starts_U
    places_E = np.repeat(np.arange(len(lengths_U)), lengths_U)
    offsets_E = np.arange(len(places_E)) - np.repeat(np.cumsum(lengths_U) - lengths_U, lengths_U)
    return places_E, np.repeat(starts_U, lengths_U) + offsets_E


def _small(numbers: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
    """Whole numbers, none of them negative, in 32 bits if they go in."""
    largest = int(numbers.max(initial=0))
    return numbers.astype(np.int32 if largest < 2**31 else np.int64)


def _summed(places_E: IntArray, values_E: FloatArray, num_places: int) -> FloatArray:
    return np.bincount(places_E, weights=values_E, minlength=num_places).astype(np.float64, copy=False)
