"""The closed-form learner as a classifier of river."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from everlearn.errors import ConfigError, InputError, MissingExtraError
from everlearn.integrations.columns import ColumnIndex
from everlearn.integrations.label_learner import InputSpec, LabelLearner, closed_form_config
from everlearn.integrations.label_names import Label
from everlearn.types import FloatArray

try:
    from river import base
except ImportError as error:
    raise MissingExtraError("river", "river") from error

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RiverClassifier"]


class RiverClassifier(base.MiniBatchClassifier):
    """A closed-form learner with the methods of river.

    Without ``model`` it takes dictionaries of numeric features. Names may come and go: each gets one of
    ``num_columns`` columns when it is first learned, an absent feature counts as 0 (so does one
    that is missing), and a name that was never learned is passed over. Once all columns are taken, further
    names share them.

    With ``model`` it takes texts: strings or, with ``on``, the field of that name of a dictionary.

    Missing is None, NaN, and pandas' NA and NaT. An example whose label is missing is passed over; a text
    that is missing is refused.

    Predictions come from the last solve, and a prediction solves again when there are ``refresh_growth``
    times as many examples as at that solve, or a new label. So a stream of n examples is solved about
    ``log(n) / log(refresh_growth)`` times; ``settle`` solves at once.

    Args:
        model: Encoder of texts: "minilm", a folder or a name, see ``everlearn.models.load_trunk``. It is
            loaded when the first text comes.
        on: Field that holds the text; None where inputs are strings.
        max_length: Most tokens of a text.
        scale: Numeric features are multiplied by it and squashed to about ±4, so 1 / (standard
            deviation) is a good value. It is one number for all features, fixed, so that the code of an
            example does not depend on what came before; features of different sizes should be scaled
            upstream.
        num_columns: Feature names that are kept apart.
        num_features: Features of the ridge expert; None: 4,096 for texts, 512 or more for numbers. A
            solve takes time with its third power.
        refresh_growth: See above, at least 1.01.
        seed: Seed of the random features.

    Raises:
        ConfigError: A setting is out of range, or ``on`` without ``model``.
        MissingExtraError: On import of the module, where river is not installed.

    Example:
        >>> from everlearn.integrations import RiverClassifier
        >>> model = RiverClassifier()
        >>> for x, y in [({"height": 1.2}, "high"), ({"height": -1.1}, "low")] * 5:
        ...     model.learn_one(x, y)
        >>> model.predict_one({"height": 0.9})
        'high'
    """

    def __init__(
        self,
        model: str | None = None,
        on: str | None = None,
        max_length: int = 256,
        scale: float = 1.0,
        num_columns: int = 128,
        num_features: int | None = None,
        refresh_growth: float = 1.2,
        seed: int = 0,
    ) -> None:
        self.model = model
        self.on = on
        self.max_length = max_length
        self.scale = scale
        self.num_columns = num_columns
        self.num_features = num_features
        self.refresh_growth = refresh_growth
        self.seed = seed
        if on is not None and model is None:
            raise ConfigError(f"on: {on!r} names a field with texts, which need a model")
        self._spec = InputSpec(model=model, max_length=max_length, num_inputs=num_columns, scale=scale)
        self._config = closed_form_config(self._spec, num_features, seed, refresh_growth=refresh_growth)
        self._columns = ColumnIndex(num_columns)
        self._learner: LabelLearner | None = None

    @property
    def _multiclass(self) -> bool:
        return True

    def _more_tags(self) -> set[str]:
        return set() if self.model is None else {base.tags.TEXT_INPUT}

    def learn_one(self, x: Mapping[Any, Any] | str, y: Label | None) -> None:
        """Learn one example; passed over if ``y`` is missing.

        Raises:
            InputError: A feature is not a number, or there is no text.
        """
        self._learn([x], [y])

    def learn_many(self, X: pd.DataFrame | pd.Series | Sequence[str], y: pd.Series | Sequence[Label]) -> None:
        """Learn a batch; the same as learning its rows one by one.

        Args:
            X: A table of features or, with ``model``, a table with the column ``on`` or a series of texts.
            y: Labels; examples whose label is missing are passed over.

        Raises:
            InputError: As ``learn_one``.
        """
        self._learn(_rows(X), list(y))

    def predict_proba_one(self, x: Mapping[Any, Any] | str, **kwargs: Any) -> dict[Any, float]:
        """Probability of each label learned so far; empty while there is none."""
        labels, probabilities = self._predict([x])
        return dict(zip(labels, probabilities[0].tolist(), strict=True)) if labels else {}

    def predict_one(self, x: Mapping[Any, Any] | str, **kwargs: Any) -> Any:
        """Most probable label; None while nothing is learned."""
        labels, probabilities = self._predict([x])
        return labels[int(probabilities[0].argmax())] if labels else None

    def predict_proba_many(self, X: pd.DataFrame | pd.Series | Sequence[str]) -> pd.DataFrame:
        """Probabilities as a table: a row for each of ``X``, a column for each label."""
        import pandas as pd

        labels, probabilities = self._predict(_rows(X))
        return pd.DataFrame(probabilities, index=_index(X), columns=pd.Index(labels, dtype=object))

    def predict_many(self, X: pd.DataFrame | pd.Series | Sequence[str]) -> pd.Series:
        """Most probable labels; None while nothing is learned."""
        import pandas as pd

        labels, probabilities = self._predict(_rows(X))
        best = [labels[k] for k in probabilities.argmax(axis=1)] if labels else [None] * len(probabilities)
        return pd.Series(best, index=_index(X), dtype=object)

    def settle(self) -> None:
        """Solve now, so that predictions use everything learned and do not depend on earlier predictions."""
        if self._learner is not None:
            self._learner.settle()

    def _learn(self, rows: Sequence[Any], labels: Sequence[Label | None]) -> None:
        if self._learner is None:
            self._learner = LabelLearner(self._spec, self._config)
        self._learner.learn(self._inputs(rows, grow=True), labels)

    def _predict(self, rows: Sequence[Any]) -> tuple[list[Label], FloatArray]:
        inputs = self._inputs(rows, grow=False)
        if self._learner is None:
            return [], np.zeros((len(rows), 0))
        return self._learner.predict(inputs)

    def _inputs(self, rows: Sequence[Any], *, grow: bool) -> list[str] | FloatArray:
        if self.model is not None:
            return [self._text(row) for row in rows]
        wrong = next((row for row in rows if not isinstance(row, Mapping)), None)
        if wrong is not None:
            raise InputError(f"features are {wrong!r}, not a dictionary; for texts give a model")
        return self._columns.vectors(rows, grow=grow)

    def _text(self, row: Mapping[Any, Any] | str) -> str:
        text = row
        if self.on is not None and isinstance(row, Mapping):
            if self.on not in row:
                raise InputError(f"no field {self.on!r} in an example with {sorted(map(str, row))}")
            text = row[self.on]
        if not isinstance(text, str):
            raise InputError(f"{text!r} is not a text; name the field that holds it with on=")
        return text


def _rows(X: Any) -> list[Any]:
    return cast(list[Any], X.to_dict(orient="records")) if hasattr(X, "columns") else list(X)


def _index(X: Any) -> Any:
    return getattr(X, "index", None) if hasattr(X, "iloc") else None
