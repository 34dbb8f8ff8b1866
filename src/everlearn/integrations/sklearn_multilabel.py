"""The closed-form learner of several labels an example as an estimator of scikit-learn."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Self, cast

import numpy as np
import numpy.typing as npt

from everlearn.errors import InputError
from everlearn.integrations.label_names import Label
from everlearn.integrations.label_set_learner import LabelSetLearner
from everlearn.integrations.sklearn import ClosedFormClassifier
from everlearn.types import FloatArray, Json, State

try:
    from sklearn.utils import Tags
    from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data
except ImportError as error:
    from everlearn.errors import MissingExtraError

    raise MissingExtraError("scikit-learn", "sklearn") from error

__all__ = ["MultiLabelClassifier"]


class MultiLabelClassifier(ClosedFormClassifier):
    """Learns which labels texts or numbers have: none, one or several.

    Labels are given as an indicator matrix (N, C) of 0 and 1, whose columns are the labels 0 to C-1, or as N
    collections of labels, which may be empty: what ``MultiLabelBinarizer`` gives and takes. Predictions have
    the form of what was learned first. Texts, numbers, parameters, ``save`` and ``load`` are as of
    ``ClosedFormClassifier``.

    Attributes:
        classes_: Labels, sorted; column numbers for an indicator matrix.
        are_columns_: Whether labels are given as an indicator matrix.

    Example:
        >>> from everlearn.integrations.sklearn_multilabel import MultiLabelClassifier
        >>> X = [[0.0, 0.0], [0.0, 9.0], [9.0, 0.0], [9.0, 9.0]] * 5
        >>> y = [(), ("up",), ("right",), ("right", "up")] * 5
        >>> MultiLabelClassifier().fit(X, y).predict([[8.5, 9.2], [0.1, 0.0]])
        [('right', 'up'), ()]
    """

    _learner_kind = LabelSetLearner
    _folder_kind = "multi-label classifier of everlearn.integrations.sklearn"
    are_columns_: bool

    def predict_proba(self, X: npt.ArrayLike) -> FloatArray:
        """Probability of each label by itself (N, C), columns in the order of ``classes_``."""
        return self._said(X)[0]

    def predict(self, X: npt.ArrayLike) -> Any:
        """An indicator matrix (N, C) of int64, or a list of N tuples of labels, as was learned."""
        said_NC = self._said(X)[1]
        if self.are_columns_:
            return said_NC.astype(np.int64)
        labels = self.classes_.tolist()
        return [tuple(labels[k] for k in np.flatnonzero(row)) for row in said_NC]

    def score(self, X: npt.ArrayLike, y: Any, sample_weight: npt.ArrayLike | None = None) -> float:
        """Share of the rows whose whole set of labels is right."""
        sets, _ = _label_sets(y)
        has_NC = np.array([[label in one for label in self.classes_.tolist()] for one in map(set, sets)])
        # A label that was never learned cannot be predicted.
        is_known_N = np.array([set(one) <= set(self.classes_.tolist()) for one in sets])
        right_N = (has_NC == self._said(X)[1]).all(axis=1) & is_known_N
        weights_N = None if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        return float(np.average(right_N, weights=weights_N))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def _said(self, X: npt.ArrayLike) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        check_is_fitted(self)
        rows = self._rows(X)
        learner = cast(LabelSetLearner, self._learner)
        learner.settle()
        labels, known_NK, said_NK = learner.predict_sets(self._scaled(rows))
        probabilities_NC = np.zeros((len(rows), len(self.classes_)))
        said_NC = np.zeros(probabilities_NC.shape, np.bool_)
        columns = [int(np.flatnonzero(self.classes_ == label)[0]) for label in labels]
        probabilities_NC[:, columns], said_NC[:, columns] = known_NK, said_NK
        return probabilities_NC, said_NC

    def _learn(self, X: npt.ArrayLike, y: Any, classes: npt.ArrayLike | None, *, is_first: bool) -> Self:
        if classes is not None:
            raise InputError("classes: labels are learned as they come; leave it out")
        sets, num_columns = _label_sets(y)
        if not is_first and (num_columns is not None) != self.are_columns_:
            raise InputError(
                "y is an indicator matrix at one time and collections of labels at another; give the one "
                "that was learned first"
            )
        if not is_first and num_columns not in (None, len(self.classes_)):
            raise InputError(f"y has {num_columns} columns, but had {len(self.classes_)} before")
        texts = self._texts(X, None if is_first else self._learner)
        rows = validate_data(self, X, reset=is_first, dtype=np.float64) if texts is None else texts
        check_consistent_length(rows, sets)
        known = [] if is_first or num_columns is not None else self.classes_.tolist()
        every = range(num_columns) if num_columns is not None else {label for one in sets for label in one}
        try:
            classes_ = np.array(sorted({*known, *every}))
        except TypeError:
            raise InputError("y holds labels of several types; give all labels one type") from None
        learner = cast(LabelSetLearner, self._started(rows) if is_first else self._learner)
        learner.learn_sets(self._scaled(rows), sets)
        self._learner, self.are_columns_ = learner, num_columns is not None
        self.classes_, self._is_closed = classes_, False
        return self

    def _description(self) -> dict[str, Json]:
        return {**super()._description(), "are_columns": self.are_columns_}

    def _take(self, state: State, described: dict[str, Json]) -> None:
        super()._take(state, described)
        self.are_columns_ = bool(described["are_columns"])


def _label_sets(y: Any) -> tuple[Sequence[Collection[Label]], int | None]:
    """The labels of each row, and the number of columns where y is an indicator matrix.

    Raises:
        InputError: It is neither a matrix of 0 and 1 nor collections of labels.
    """
    if hasattr(y, "toarray"):  # a sparse matrix
        y = y.toarray()
    shape = getattr(y, "shape", ())
    if len(shape) == 2:
        matrix = np.asarray(y)
        if matrix.dtype.kind not in "biuf" or not np.isin(matrix, (0, 1)).all():
            raise InputError("y: an indicator matrix holds 0 and 1 alone; else give N collections of labels")
        return [np.flatnonzero(row).tolist() for row in matrix], matrix.shape[1]
    sets: list[Collection[Label]] = []
    for number, one in enumerate(y):
        if isinstance(one, str | bytes) or not isinstance(one, Collection):
            raise InputError(
                f"y: row {number} (from 0) is {one!r}, not a collection of labels; one label is [{one!r}], "
                "none is []"
            )
        sets.append(list(one))
    return sets, None
