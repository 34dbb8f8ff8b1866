"""The closed-form learner as an estimator of scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch

from everlearn.errors import ConfigError, InputError, MissingExtraError, StateError
from everlearn.integrations.encoders import DEFAULT_ENCODER
from everlearn.integrations.label_learner import (
    InputSpec,
    LabelLearner,
    closed_form_config,
    plain_setting,
)
from everlearn.integrations.label_names import loaded_label, saved_label
from everlearn.integrations.targets import label_kind, require_kind, require_one_label_a_row
from everlearn.integrations.text_inputs import texts_in
from everlearn.journal.state_folder import read_state_folder, write_state_folder
from everlearn.types import FloatArray, Json, State

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils import Tags, column_or_1d
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data
except ImportError as error:
    raise MissingExtraError("scikit-learn", "sklearn") from error

__all__ = ["ClosedFormClassifier", "SklearnClassifier"]


_SCALING = ("center_", "scale_")
_OF_NUMBERS = ("n_features_in_", "feature_names_in_", *_SCALING)


class ClosedFormClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """The closed-form learner as a classifier of texts or numbers.

    Texts are a list, an array or a Series of strings, or a table of one column. They are read by a pretrained
    encoder, which is loaded once a process. Anything else is an array of numbers (N, F). What the first data
    are, all later ones must be.

    ``partial_fit`` gives what ``fit`` on all data so far would give, up to the scaling below. The first
    prediction after learning solves anew, so predictions are always those of everything learned.

    Args:
        model: Encoder of texts: "minilm", a folder or a name, see ``everlearn.models.load_trunk``. None:
            minilm where data are texts. With a name, numbers are refused.
        max_length: Most tokens of a text.
        scale: Numeric columns are squashed to about ±4 spreads, so they need a scale. None: each column
            is centred and scaled by its mean and standard deviation in the first call of ``fit`` or
            ``partial_fit``; these are kept from then on, so that codes stay comparable, and the first
            batch of a stream should be a fair one. (A column that does not vary in it is scaled by its
            size.) A number: all columns are multiplied by it and nothing else, so that codes depend on
            no data.
        num_features: Features of the ridge expert. None: 5,120 for texts; for numbers 512, or twice the
            number of columns, at most 4,096. A solve takes time with its third power.
        seed: Seed of the random features.

    Attributes:
        classes_: Labels, sorted. They grow with the data, unless ``partial_fit`` was given ``classes``.
        n_features_in_: Columns of X; not for texts.
        feature_names_in_: Names of the columns, where X came with names; not for texts.
        center_, scale_: What is subtracted from the columns, and what they are divided by then; not for
            texts.

    Example:
        >>> from everlearn.integrations.sklearn import ClosedFormClassifier
        >>> X, y = [[0.0], [1.0], [9.0], [10.0]], ["small", "small", "large", "large"]
        >>> ClosedFormClassifier().fit(X, y).predict([[0.5]]).tolist()
        ['small']
        >>> texts, topics = ["I forgot my password", "the parcel is late"] * 2, ["account", "delivery"] * 2
        >>> ClosedFormClassifier().fit(texts, topics).predict(["where is my package?"]).tolist()
        ['delivery']
    """

    _learner_kind: ClassVar[type[LabelLearner]] = LabelLearner
    _folder_kind: ClassVar[str] = "classifier of everlearn.integrations.sklearn"
    classes_: npt.NDArray[Any]
    center_: FloatArray
    scale_: FloatArray
    n_features_in_: int
    feature_names_in_: npt.NDArray[Any]
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
            ModelError: The encoder cannot be found or loaded.
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
        rows = self._rows(X)
        self._learner.settle()
        labels, known_NC = self._learner.predict(self._scaled(rows))
        probabilities_NC = np.zeros((len(rows), len(self.classes_)))
        probabilities_NC[:, np.searchsorted(self.classes_, np.array(labels, self.classes_.dtype))] = known_NC
        return probabilities_NC

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[Any]:
        """Most probable labels (N)."""
        best_N = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[best_N])

    def save(self, path: str | Path) -> None:
        """Save what was learned to a folder, in place of what was saved there before.

        The folder holds no texts; it names the encoder and does not hold it. Pickle is not used.

        Args:
            path: The folder; made if there is none.

        Raises:
            InputError: The folder holds something else, or a label or setting has no JSON.
            StorageError: It cannot be written; what was saved before is intact.
        """
        check_is_fitted(self)
        write_state_folder(Path(path), self._folder_kind, self._state(), self._description())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The classifier that ``save`` saved to a folder; it predicts and learns as that one would.

        Raises:
            StateError: Nothing is saved there, it is damaged, or the encoder here is another one.
            ModelError: The encoder cannot be found or loaded.
        """
        state, described = read_state_folder(Path(path), cls._folder_kind)
        try:
            model = cls(**described["parameters"])
            model._take(state, described)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StateError(f"{path} holds something that no classifier saved: {error!r}") from error
        return model

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
        require_one_label_a_row(y)
        kind = label_kind(y, "y")
        if classes is not None:
            require_kind(kind, label_kind(classes, "classes"), "classes holds")
        if not is_first:
            require_kind(kind, label_kind(self.classes_, "classes_"), "the labels learned before are")
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
            spec = InputSpec(model=self.model or DEFAULT_ENCODER, max_length=self.max_length)
            for name in _OF_NUMBERS:  # of an earlier fit
                self.__dict__.pop(name, None)
        else:
            spec = InputSpec(num_inputs=rows.shape[1])
            self.center_, self.scale_ = _scaling(rows, self.scale)
        return self._learner_kind(spec, closed_form_config(spec, self.num_features, self.seed))

    def _checked(
        self, X: npt.ArrayLike, y: npt.ArrayLike, *, is_first: bool
    ) -> tuple[list[str] | FloatArray, npt.NDArray[Any]]:
        rows: list[str] | FloatArray
        texts = self._texts(X, None if is_first else self._learner)
        if texts is None:
            rows, labels = validate_data(self, X, y, reset=is_first, dtype=np.float64)
        else:
            rows, labels = texts, column_or_1d(y, warn=True)
            check_consistent_length(rows, labels)
        check_classification_targets(labels)
        return rows, labels

    def _rows(self, X: npt.ArrayLike) -> list[str] | FloatArray:
        texts = self._texts(X, self._learner)
        if texts is not None:
            return texts
        numbers: FloatArray = validate_data(self, X, reset=False, dtype=np.float64)
        return numbers

    def _texts(self, X: npt.ArrayLike, learner: LabelLearner | None) -> list[str] | None:
        """Texts; None where X holds numbers. Raises InputError where it should hold the other."""
        texts = texts_in(X)
        learned = None if learner is None else learner.spec.are_texts
        if texts is None and (learned or (learned is None and self.model is not None)):
            if np.shape(X)[:1] == (0,):
                raise InputError("X holds no texts")
            why = f"the encoder {self.model!r} reads" if learned is None else "this classifier has learned"
            raise InputError(f"X holds no texts, which {why}; give a list, an array or a Series of strings")
        if texts is not None and learned is False:
            raise InputError("X holds texts, but this classifier has learned numbers; fit it anew for texts")
        return texts

    def _state(self) -> State:
        state = self._learner.learner.state()
        columns = {name: torch.from_numpy(getattr(self, name)) for name in _SCALING if hasattr(self, name)}
        return State({**state.tensors, **columns}, state.data)

    def _description(self) -> dict[str, Json]:
        names = self.__dict__.get("feature_names_in_")
        return {
            "parameters": {name: plain_setting(name, value) for name, value in self.get_params().items()},
            "learner": self._learner.description(),
            "classes": [saved_label(label) for label in self.classes_],
            "dtype_of_classes": self.classes_.dtype.str,
            "is_closed": self._is_closed,
            "column_names": None if names is None else names.tolist(),
        }

    def _take(self, state: State, described: dict[str, Json]) -> None:
        self._learner = self._learner_kind.restored(described["learner"], state)
        classes = [loaded_label(name) for name in described["classes"]]
        self.classes_ = np.array(classes, dtype=np.dtype(described["dtype_of_classes"]))
        self._is_closed = bool(described["is_closed"])
        if not self._learner.spec.are_texts:
            self.center_, self.scale_ = (state.tensors[name].numpy() for name in _SCALING)
            self.n_features_in_ = self._learner.spec.num_inputs
            if described["column_names"] is not None:
                self.feature_names_in_ = np.array(described["column_names"], dtype=object)

    def _scaled(self, rows: list[str] | FloatArray) -> list[str] | FloatArray:
        if isinstance(rows, list):
            return rows
        # So far outside codes are ±127 anyway; the bound only keeps them finite.
        with np.errstate(over="ignore"):
            return np.clip((rows - self.center_) / self.scale_, -1e9, 1e9)


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


SklearnClassifier = ClosedFormClassifier
"""Its earlier name."""
