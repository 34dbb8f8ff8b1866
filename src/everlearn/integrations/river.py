"""The closed-form learner as a classifier of river."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from everlearn.integrations.label_names import Label
from everlearn.integrations.river_learner import RiverLearner, base
from everlearn.types import FloatArray

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ClosedFormClassifier", "RiverClassifier"]


class ClosedFormClassifier(RiverLearner, base.MiniBatchClassifier):
    """The closed-form learner as a classifier of texts or numbers.

    Texts are strings, dictionaries whose one field is a string or, with ``on``, the field of that name. They
    are read by a pretrained encoder, which is loaded once a process. So texts come as they are, without
    ``BagOfWords`` before it.

    Dictionaries of numbers are features. Names may come and go: each gets one of
    ``num_columns`` columns when it is first learned, an absent feature counts as 0 (so does one
    that is missing), and a name that was never learned is passed over. Once all columns are taken, further
    names share them, of which a warning tells.

    What the first example is, a text or numbers, all later ones must be.

    Missing is None, NaN, and pandas' NA and NaT. An example whose label is missing is passed over; a text
    that is missing is refused.

    A prediction uses everything that was learned. The learner's own settings (λ, the weights of its experts)
    are chosen anew when there are ``refresh_growth`` times as many examples as at the last time;
    ``settle`` chooses them now.

    Args:
        model: Encoder of texts: "minilm", a folder or a name, see ``everlearn.models.load_trunk``. It is
            loaded when the first text is learned. None: minilm where inputs are texts. With a name, numbers
            are refused.
        on: Field that holds the text, where dictionaries have several.
        max_length: Most tokens of a text.
        scale: Numeric features are multiplied by it and squashed to about ±4, so 1 / (standard
            deviation) is a good value. It is one number for all features, fixed, so that the code of an
            example does not depend on what came before; features of different sizes should be scaled
            upstream.
        num_columns: Feature names that are kept apart.
        num_features: Features of the ridge expert; None: 5,120 for texts, 512 or more for numbers. A
            solve takes time with its third power.
        refresh_growth: See above, at least 1.01; up to 2,048 examples it is at most 1.5.
        seed: Seed of the random features.

    Raises:
        ConfigError: A setting is out of range.
        MissingExtraError: On import of the module, where river is not installed.

    Example:
        >>> from everlearn.integrations.river import ClosedFormClassifier
        >>> model = ClosedFormClassifier()
        >>> for x, y in [({"height": 1.2}, "high"), ({"height": -1.1}, "low")] * 5:
        ...     model.learn_one(x, y)
        >>> model.predict_one({"height": 0.9})
        'high'
        >>> model = ClosedFormClassifier()
        >>> for x, y in [("I forgot my password", "account"), ("the parcel is late", "delivery")] * 3:
        ...     model.learn_one(x, y)
        >>> model.predict_one("where is my package?")
        'delivery'
    """

    _folder_kind = "classifier of everlearn.integrations.river"

    @property
    def _multiclass(self) -> bool:
        return True

    def learn_one(self, x: Mapping[Any, Any] | str, y: Label | None) -> None:
        """Learn one example; passed over if ``y`` is missing.

        Raises:
            InputError: A feature is not a number, or it is not clear which field is the text.
            ModelError: The encoder cannot be found or loaded.
        """
        self._learn([x], [y])

    def learn_many(self, X: pd.DataFrame | pd.Series | Sequence[str], y: pd.Series | Sequence[Label]) -> None:
        """Learn a batch; the same as learning its rows one by one.

        Args:
            X: A table of features, a series of texts, or a table whose one column, or the column ``on``,
                holds texts.
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

    def _learn(self, rows: Sequence[Any], labels: Sequence[Label | None]) -> None:
        inputs = self._inputs(rows, grow=True)
        self._ready(inputs).learn(inputs, labels)

    def _predict(self, rows: Sequence[Any]) -> tuple[list[Label], FloatArray]:
        inputs = self._inputs(rows)
        return ([], np.zeros((len(rows), 0))) if self._learner is None else self._learner.predict(inputs)


RiverClassifier = ClosedFormClassifier
"""Its earlier name."""


def _rows(X: Any) -> list[Any]:
    return cast(list[Any], X.to_dict(orient="records")) if hasattr(X, "columns") else list(X)


def _index(X: Any) -> Any:
    return getattr(X, "index", None) if hasattr(X, "iloc") else None
