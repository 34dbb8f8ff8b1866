"""The closed-form learner as a classifier of river."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np

from everlearn.errors import InputError, MissingExtraError, StateError
from everlearn.integrations.columns import ColumnIndex
from everlearn.integrations.encoders import DEFAULT_ENCODER
from everlearn.integrations.label_learner import (
    InputSpec,
    LabelLearner,
    closed_form_config,
    plain_setting,
)
from everlearn.integrations.label_names import Label
from everlearn.integrations.text_inputs import field_text
from everlearn.journal.state_folder import read_state_folder, write_state_folder
from everlearn.types import FloatArray, State

try:
    from river import base
except ImportError as error:
    raise MissingExtraError("river", "river") from error

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ClosedFormClassifier", "RiverClassifier"]

_MOST_SHOWN = 80
_KIND = "classifier of everlearn.integrations.river"


class ClosedFormClassifier(base.MiniBatchClassifier):
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

    def __init__(
        self,
        model: str | None = None,
        on: str | None = None,
        max_length: int = 256,
        scale: float = 1.0,
        num_columns: int = 128,
        num_features: int | None = None,
        refresh_growth: float = 2.0,
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
        # Wrong settings are refused now, whatever the first example will be.
        for spec in self._specs():
            closed_form_config(spec, num_features, seed, refresh_growth=refresh_growth)
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

    def settle(self) -> None:
        """Choose settings now, so that predictions depend on what was learned and not on its order."""
        if self._learner is not None:
            self._learner.settle()

    def save(self, path: str | Path) -> None:
        """Save what was learned to a folder, in place of what was saved there before.

        The folder holds no texts; it names the encoder and does not hold it. Pickle is not used.

        Args:
            path: The folder; made if there is none.

        Raises:
            InputError: The folder holds something else, or a label or setting has no JSON.
            StorageError: It cannot be written; what was saved before is intact.
        """
        learner = self._learner
        state = State({}, {}) if learner is None else learner.learner.state()
        described = {
            "parameters": {name: plain_setting(name, value) for name, value in self._get_params().items()},
            "columns": self._columns.to_json(),
            "learner": None if learner is None else learner.description(),
        }
        write_state_folder(Path(path), _KIND, state, described)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The classifier that ``save`` saved to a folder; it predicts and learns as that one would.

        Raises:
            StateError: Nothing is saved there, it is damaged, or the encoder here is another one.
            ModelError: The encoder cannot be found or loaded.
        """
        state, described = read_state_folder(Path(path), _KIND)
        try:
            model = cls(**described["parameters"])
            model._columns = ColumnIndex.from_json(described["columns"])
            if described["learner"] is not None:
                model._learner = LabelLearner.restored(described["learner"], state)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StateError(f"{path} holds something that no classifier saved: {error!r}") from error
        return model

    def _learn(self, rows: Sequence[Any], labels: Sequence[Label | None]) -> None:
        texts = self._texts(rows)
        inputs = self._columns.vectors(rows, grow=True) if texts is None else texts
        if self._learner is None:
            spec = self._specs()[0 if texts is None else 1]
            config = closed_form_config(
                spec, self.num_features, self.seed, refresh_growth=self.refresh_growth
            )
            self._learner = LabelLearner(spec, config)
        self._learner.learn(inputs, labels)

    def _predict(self, rows: Sequence[Any]) -> tuple[list[Label], FloatArray]:
        texts = self._texts(rows)
        inputs = self._columns.vectors(rows) if texts is None else texts
        if self._learner is None:
            return [], np.zeros((len(rows), 0))
        return self._learner.predict(inputs)

    def _specs(self) -> tuple[InputSpec, InputSpec]:
        """Inputs as numbers, and as texts."""
        model = self.model or DEFAULT_ENCODER
        return (
            InputSpec(num_inputs=self.num_columns, scale=self.scale),
            InputSpec(model=model, max_length=self.max_length),
        )

    def _texts(self, rows: Sequence[Any]) -> list[str] | None:
        """The texts of all rows; None where they are numbers, or there is no row.

        Raises:
            InputError: A row is neither, or not what was learned before.
        """
        if not rows:
            return None
        read = [self._text(row) for row in rows]
        if self._learner is not None:
            are_texts = self._learner.spec.are_texts
        else:
            are_texts = self.model is not None or self.on is not None or read[0] is not None
        texts = [text for text in read if text is not None]
        if len(texts) == (len(read) if are_texts else 0):
            return texts if are_texts else None
        wrong = next(row for row, text in zip(rows, read, strict=True) if (text is not None) != are_texts)
        if are_texts:
            raise InputError(f"{_shown(wrong)} holds no text, but texts are learned here")
        raise InputError(
            f"{_shown(wrong)} is a text, but numbers are learned here; make numbers of it first, or use "
            "another classifier for texts"
        )

    def _text(self, row: Any) -> str | None:
        if isinstance(row, str):
            return row
        if not isinstance(row, Mapping):
            raise InputError(f"{_shown(row)} is neither a text nor a dictionary of features")
        if self.on is None:
            return field_text(row)
        if self.on not in row:
            raise InputError(f"no field {self.on!r} in an example with {sorted(map(str, row))}")
        text = row[self.on]
        if not isinstance(text, str):
            raise InputError(f"field {self.on!r}: {_shown(text)} is not a text")
        return text


RiverClassifier = ClosedFormClassifier
"""Its earlier name."""


def _rows(X: Any) -> list[Any]:
    return cast(list[Any], X.to_dict(orient="records")) if hasattr(X, "columns") else list(X)


def _index(X: Any) -> Any:
    return getattr(X, "index", None) if hasattr(X, "iloc") else None


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _MOST_SHOWN else f"{shown[: _MOST_SHOWN - 3]}..."
