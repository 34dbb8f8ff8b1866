"""The closed-form learner of several labels an example as a classifier of river."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from everlearn.errors import InputError
from everlearn.integrations.label_names import Label, loaded_label, saved_label
from everlearn.integrations.label_set_learner import LabelSetLearner
from everlearn.integrations.river_learner import RiverLearner, base
from everlearn.types import FloatArray, Json

__all__ = ["MultiLabelClassifier"]


class MultiLabelClassifier(RiverLearner, base.MultiLabelClassifier):
    """Learns which labels texts or numbers have: none, one or several.

    Labels are given as river gives them: a dictionary that says of each label whether the example has it.
    Labels may come and go; one that a dictionary does not name, the example does not have. Texts, numbers,
    parameters, ``settle``, ``save`` and ``load`` are as of ``ClosedFormClassifier`` in
    ``everlearn.integrations.river``.

    Raises:
        ConfigError: A setting is out of range.
        MissingExtraError: On import of the module, where river is not installed.

    Example:
        >>> from everlearn.integrations.river_multilabel import MultiLabelClassifier
        >>> model = MultiLabelClassifier()
        >>> for right, up in [(0.0, 0.0), (0.0, 9.0), (9.0, 0.0), (9.0, 9.0)] * 5:
        ...     model.learn_one({"x": right, "y": up}, {"right": right > 5, "up": up > 5})
        >>> model.predict_one({"x": 8.5, "y": 9.2})
        {'right': True, 'up': True}
    """

    _learner_kind = LabelSetLearner
    _folder_kind = "multi-label classifier of everlearn.integrations.river"
    _named: frozenset[Label] = frozenset()  # by dictionaries, whether an example had the label or not

    def learn_one(self, x: Mapping[Any, Any] | str, y: Mapping[Any, bool]) -> None:
        """Learn one example.

        Raises:
            InputError: ``y`` is no dictionary of labels, a feature is not a number, or it is not clear which
                field is the text.
            ModelError: The encoder cannot be found or loaded.
        """
        own = _labels_of(y)
        inputs = self._inputs([x], grow=True)
        cast(LabelSetLearner, self._ready(inputs)).learn_sets(inputs, [own])
        self._named |= set(y)

    def predict_proba_one(self, x: Mapping[Any, Any] | str, **kwargs: Any) -> dict[Any, dict[bool, float]]:
        """Of each label named so far, how probable it is that the example has it."""
        labels, probabilities, _ = self._predict(x)
        return {
            label: {False: 1 - probability, True: probability}
            for label, probability in zip(labels, probabilities, strict=True)
        }

    def predict_one(self, x: Mapping[Any, Any] | str, **kwargs: Any) -> dict[Any, bool]:
        """Of each label named so far, whether the example has it, by the threshold of that label."""
        labels, _, said = self._predict(x)
        return dict(zip(labels, said, strict=True))

    def _predict(self, x: Mapping[Any, Any] | str) -> tuple[list[Label], list[float], list[bool]]:
        inputs = self._inputs([x])
        if self._learner is None:
            return [], [], []
        found: tuple[list[Label], FloatArray, npt.NDArray[np.bool_]]
        found = cast(LabelSetLearner, self._learner).predict_sets(inputs)
        labels, probabilities_BC, said_BC = found
        others = sorted(self._named.difference(labels), key=str)  # no example has them
        nothing = [0.0] * len(others)
        return (
            [*labels, *others],
            [*probabilities_BC[0].tolist(), *nothing],
            [*said_BC[0].tolist(), *map(bool, nothing)],
        )

    def _description(self) -> dict[str, Json]:
        return {"named": sorted(saved_label(label) for label in self._named)}

    def _take(self, described: Mapping[str, Json]) -> None:
        self._named = frozenset(loaded_label(name) for name in described["named"])


def _labels_of(y: object) -> list[Any]:
    """The labels that an example has.

    Raises:
        InputError: It is no dictionary of labels.
    """
    if not isinstance(y, Mapping):
        raise InputError(
            f"y is {y!r}, not a dictionary that says of each label whether the example has it, as "
            "{'late': True, 'damaged': False}"
        )
    for label, has in y.items():
        if not isinstance(has, bool | np.bool_) and has not in (0, 1):
            raise InputError(f"y: of label {label!r} it says {has!r}, not True or False")
    return [label for label, has in y.items() if has]
