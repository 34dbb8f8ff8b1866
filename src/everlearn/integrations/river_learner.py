"""What the adapters for river have in common: settings, what an input is, saving and loading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

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
from everlearn.integrations.text_inputs import field_text
from everlearn.journal.state_folder import read_state_folder, write_state_folder
from everlearn.types import FloatArray, Json, State

try:
    from river import base
except ImportError as error:
    raise MissingExtraError("river", "river") from error

__all__ = ["RiverLearner", "base"]

_MOST_SHOWN = 80


class RiverLearner(base.Estimator):
    """A learner of texts or numbers that river hands its examples to.

    Its parameters are described where users meet them, at ``river.ClosedFormClassifier``.

    Raises:
        ConfigError: A setting is out of range.
    """

    _learner_kind: ClassVar[type[LabelLearner]] = LabelLearner
    _folder_kind: ClassVar[str]

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

    def _more_tags(self) -> set[str]:
        return set() if self.model is None else {base.tags.TEXT_INPUT}

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
        described = self._description()
        described |= {
            "parameters": {name: plain_setting(name, value) for name, value in self._get_params().items()},
            "columns": self._columns.to_json(),
            "learner": None if learner is None else learner.description(),
        }
        write_state_folder(Path(path), self._folder_kind, state, described)

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
            model._columns = ColumnIndex.from_json(described["columns"])
            if described["learner"] is not None:
                model._learner = cls._learner_kind.restored(described["learner"], state)
            model._take(described)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StateError(f"{path} holds something that no classifier saved: {error!r}") from error
        return model

    def _description(self) -> dict[str, Json]:
        """What else is saved."""
        return {}

    def _take(self, described: Mapping[str, Json]) -> None:
        """Take up what ``_description`` gave."""

    def _ready(self, inputs: Sequence[str] | FloatArray) -> LabelLearner:
        """The learner, which the first inputs begin."""
        if self._learner is None:
            spec = self._specs()[0 if isinstance(inputs, np.ndarray) else 1]
            config = closed_form_config(
                spec, self.num_features, self.seed, refresh_growth=self.refresh_growth
            )
            self._learner = self._learner_kind(spec, config)
        return self._learner

    def _inputs(self, rows: Sequence[Any], *, grow: bool = False) -> Sequence[str] | FloatArray:
        """Rows as texts, or as numbers by column; names that are new get a column if ``grow``."""
        texts = self._texts(rows)
        return self._columns.vectors(rows, grow=grow) if texts is None else texts

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


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _MOST_SHOWN else f"{shown[: _MOST_SHOWN - 3]}..."
