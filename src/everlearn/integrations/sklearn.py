"""The closed-form learner as an estimator of scikit-learn."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt

from everlearn.errors import ConfigError, InputError, MissingExtraError
from everlearn.integrations.label_learner import InputSpec, LabelLearner, closed_form_config
from everlearn.integrations.label_names import is_missing
from everlearn.types import FloatArray

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils import Tags, column_or_1d
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data
except ImportError as error:
    raise MissingExtraError("scikit-learn", "sklearn") from error

__all__ = ["SklearnClassifier"]


class SklearnClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A closed-form learner with the methods of scikit-learn.

    Without ``model``, X is an array of numbers (N, F). With ``model``, X is a list or one-dimensional
    array of N texts.

    ``partial_fit`` gives what ``fit`` on all data so far would give, up to the scaling below. The first
    prediction after learning solves anew, so predictions are always those of everything learned.

    Args:
        model: Encoder of texts: "minilm", a folder or a name, see ``everlearn.models.load_trunk``.
        max_length: Most tokens of a text.
        scale: Numeric columns are squashed to about ±4 spreads, so they need a scale. None: each column
            is centred and scaled by its mean and standard deviation in the first call of ``fit`` or
            ``partial_fit``; these are kept from then on, so that codes stay comparable, and the first
            batch of a stream should be a fair one. (A column that does not vary in it is scaled by its
            size.) A number: all columns are multiplied by it and nothing else, so that codes depend on
            no data.
        num_features: Features of the ridge expert. None: 4,096 for texts; for numbers 512, or twice the
            number of columns, at most 4,096. A solve takes time with its third power.
        seed: Seed of the random features.

    Attributes:
        classes_: Labels, sorted. They grow with the data, unless ``partial_fit`` was given ``classes``.
        n_features_in_: Columns of X; not for texts.
        feature_names_in_: Names of the columns, where X came with names.
        center_, scale_: What is subtracted from the columns, and what they are divided by then; not for
            texts.

    Example:
        >>> from everlearn.integrations import SklearnClassifier
        >>> X, y = [[0.0], [1.0], [9.0], [10.0]], ["small", "small", "large", "large"]
        >>> SklearnClassifier().fit(X, y).predict([[0.5]]).tolist()
        ['small']
    """

    classes_: npt.NDArray[Any]
    center_: FloatArray
    scale_: FloatArray
    _is_closed: bool
    _learner: LabelLearner

    def __init__(
        self,
        model: str | None = None,
        *,
        max_length: int = 256,
        scale: float | None = None,
        num_features: int | None = None,
        seed: int = 0,
    ) -> None:
        self.model = model
        self.max_length = max_length
        self.scale = scale
        self.num_features = num_features
        self.seed = seed

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> Self:
        """Forget everything and learn X with labels y (N).

        Raises:
            ValueError: X or y is not what it should be (``InputError`` for texts).
            ConfigError: A setting is out of range.
        """
        return self._learn(X, y, None, is_first=True)

    def partial_fit(self, X: npt.ArrayLike, y: npt.ArrayLike, classes: npt.ArrayLike | None = None) -> Self:
        """Learn X with labels y (N) besides what was learned before.

        Args:
            X: Numbers (N, F) or N texts.
            y: Labels.
            classes: All labels that may ever come, if they are known; only needed where probabilities
                must have the same columns from the first call on. Without, new labels are learned as
                they come.

        Raises:
            ValueError: X or y is not what it should be, or a label is not among ``classes``.
            ConfigError: A setting is out of range.
        """
        return self._learn(X, y, classes, is_first=not hasattr(self, "_learner"))

    def predict_proba(self, X: npt.ArrayLike) -> FloatArray:
        """Probabilities (N, C), columns in the order of ``classes_``; 0 for classes without examples."""
        check_is_fitted(self)
        rows = _texts(X) if self.model is not None else validate_data(self, X, reset=False, dtype=np.float64)
        self._learner.settle()
        labels, known_NC = self._learner.predict(self._scaled(rows))
        probabilities_NC = np.zeros((len(rows), len(self.classes_)))
        probabilities_NC[:, np.searchsorted(self.classes_, np.array(labels, self.classes_.dtype))] = known_NC
        return probabilities_NC

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[Any]:
        """Most probable labels (N)."""
        best_N = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[best_N])

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        if self.model is not None:
            tags.input_tags.string = True
            tags.input_tags.one_d_array = True
            tags.input_tags.two_d_array = False
        return tags

    def _learn(
        self, X: npt.ArrayLike, y: npt.ArrayLike, classes: npt.ArrayLike | None, *, is_first: bool
    ) -> Self:
        kind = _check_labels(y, "y")
        if classes is not None:
            _require_kind(kind, _check_labels(classes, "classes"), "classes holds")
        if not is_first:
            _require_kind(kind, _check_labels(self.classes_, "classes_"), "the labels learned before are")
        rows, labels = self._checked(X, y, is_first=is_first)
        if is_first:
            is_closed = classes is not None
            classes_ = np.unique(np.asarray(classes) if is_closed else labels)
        else:
            classes_, is_closed = self.classes_, self._is_closed
            if classes is not None and not np.array_equal(np.unique(np.asarray(classes)), classes_):
                raise ValueError(f"classes are {classes!r}, but were {classes_.tolist()} before")
        unknown = np.setdiff1d(labels, classes_)
        if is_closed and len(unknown):
            raise ValueError(f"y holds {unknown[0]!r}, which is not among classes {classes_.tolist()}")
        learner = self._started(rows) if is_first else self._learner
        learner.learn(self._scaled(rows), labels.tolist())
        self._learner = learner
        self.classes_, self._is_closed = np.union1d(classes_, unknown), is_closed
        return self

    def _started(self, rows: list[str] | FloatArray) -> LabelLearner:
        """A learner whose sizes fit the first call's data; the scaling of the columns is set, too."""
        if isinstance(rows, list):
            spec = InputSpec(model=self.model, max_length=self.max_length)
        else:
            spec = InputSpec(num_inputs=rows.shape[1])
            self.center_, self.scale_ = _scaling(rows, self.scale)
        return LabelLearner(spec, closed_form_config(spec, self.num_features, self.seed))

    def _checked(
        self, X: npt.ArrayLike, y: npt.ArrayLike, *, is_first: bool
    ) -> tuple[list[str] | FloatArray, npt.NDArray[Any]]:
        rows: list[str] | FloatArray
        if self.model is None:
            rows, labels = validate_data(self, X, y, reset=is_first, dtype=np.float64)
        else:
            rows, labels = _texts(X), column_or_1d(y, warn=True)
            check_consistent_length(rows, labels)
        check_classification_targets(labels)
        return rows, labels

    def _scaled(self, rows: list[str] | FloatArray) -> list[str] | FloatArray:
        if isinstance(rows, list):
            return rows
        # So far outside codes are ±127 anyway; the bound only keeps them finite.
        with np.errstate(over="ignore"):
            return np.clip((rows - self.center_) / self.scale_, -1e9, 1e9)


def _check_labels(y: npt.ArrayLike | None, name: str) -> str | None:
    """Whether labels are "strings" or "numbers"; None where there are none.

    Raises:
        InputError: One is missing, or they are both: an array would make strings of the numbers.
    """
    if y is None or (array := np.asarray(y)).ndim > 1:  # scikit-learn has words for it
        return None
    if array.dtype.kind in "biu":
        return "numbers"
    if array is y and array.dtype.kind in "US":
        return "strings"
    kinds: dict[str, Any] = {}
    for row, label in enumerate(np.asarray(y, dtype=object).ravel()):
        if is_missing(label):
            raise InputError(
                f"Input {name} contains NaN: row {row} (from 0) is {label!r}; leave out what has no label"
            )
        kinds.setdefault("strings" if isinstance(label, str | bytes) else "numbers", label)
    if len(kinds) > 1:
        both = " and ".join(f"{kind} ({label!r})" for kind, label in kinds.items())
        raise InputError(f"{name} holds {both}; give all labels one type")
    return next(iter(kinds), None)


def _require_kind(kind: str | None, other: str | None, where: str) -> None:
    if kind is not None and other is not None and kind != other:
        raise InputError(f"y holds {kind}, but {where} {other}; give all labels one type")


def _scaling(rows_NF: FloatArray, scale: float | None) -> tuple[FloatArray, FloatArray]:
    """What to subtract from each column and what to divide it by then."""
    if scale is not None:
        if not isinstance(scale, int | float | np.number) or not (np.isfinite(scale) and scale > 0):
            raise ConfigError(f"scale must be a positive number or None, not {scale!r}")
        return np.zeros(rows_NF.shape[1]), np.full(rows_NF.shape[1], 1.0 / scale)
    # In units of the largest value, squares of extreme values stay finite.
    largest_F = np.abs(rows_NF).max(axis=0)
    largest_F[largest_F == 0] = 1.0
    units_NF = rows_NF / largest_F
    spread_F = np.where(np.ptp(units_NF, axis=0) > 0, units_NF.std(axis=0), 1.0)
    return units_NF.mean(axis=0) * largest_F, spread_F * largest_F


def _texts(X: npt.ArrayLike) -> list[str]:
    if isinstance(X, str) or np.ndim(X) != 1:
        raise InputError("with a model, X is a list or one-dimensional array of texts")
    texts: list[str] = np.asarray(X, dtype=object).tolist()
    if not texts:
        raise InputError("X holds no texts")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"X: row {row} (from 0) is {text!r}, not a text")
    return texts
