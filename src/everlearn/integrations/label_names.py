"""Labels of any plain type on one side, the learner's strings on the other."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence

import numpy as np

from everlearn.errors import InputError
from everlearn.types import Json

__all__ = ["Label", "LabelNames", "is_missing", "loaded_label", "saved_label"]

Label = Hashable
"""A label as users of river and scikit-learn have them: str, int, bool or float."""


def is_missing(value: object) -> bool:
    """Whether a value is what tables have where there is none: None, NaN, or pandas' NA and NaT.

    >>> [is_missing(value) for value in (None, float("nan"), "", 0, False)]
    [True, True, False, False, False]
    """
    if value is None:
        return True
    try:
        return bool(value != value)
    except (TypeError, ValueError):
        # Pandas' NA refuses to say whether it equals anything; so does an array of several values.
        kind = type(value)
        return kind.__name__ == "NAType" and kind.__module__.startswith("pandas")


class LabelNames:
    """Gives every label a name and finds the label of a name.

    Labels that Python holds equal (``True``, ``1`` and ``1.0``) are one label, the one seen first, since
    they would be one key of a dictionary of probabilities, too. Scalars of numpy become Python's.

    >>> names = LabelNames()
    >>> names.name_of(1), names.name_of("1"), names.name_of(True)
    ('int:1', 'str:1', 'int:1')
    >>> names.label_of("int:1")
    1
    """

    def __init__(self) -> None:
        self._name_of: dict[Label, str] = {}
        self._label_of: dict[str, Label] = {}

    def name_of(self, label: Label) -> str:
        """The name of a label; a label seen for the first time gets one.

        Raises:
            InputError: A label of another type, or one that is not equal to itself (NaN).
        """
        plain: Label = label.item() if isinstance(label, np.generic) else label
        if isinstance(plain, Collection) and not isinstance(plain, str | bytes):
            raise InputError(
                f"label {label!r} is a {type(plain).__name__}, but an example has one label here; several "
                "are learned by MultiLabelClassifier (docs/python.md)"
            )
        if not isinstance(plain, str | int | float) or plain != plain:
            raise InputError(f"label {label!r} is not a string, a number or a boolean")
        name = self._name_of.get(plain)
        if name is None:
            name = f"{type(plain).__name__}:{plain}"
            self._name_of[plain] = name
            self._label_of[name] = plain
        return name

    def label_of(self, name: str) -> Label:
        """The label that has this name."""
        return self._label_of[name]

    def to_json(self) -> list[Json]:
        """The names, which tell the labels.

        Raises:
            InputError: A label is of a class of its own, which a name does not tell.
        """
        return [saved_label(label) for label in self._name_of]

    @classmethod
    def from_json(cls, saved: Sequence[Json]) -> LabelNames:
        """Invert ``to_json``; raises ValueError, KeyError or TypeError where it is nothing of the kind."""
        names = cls()
        for name in saved:
            names.name_of(loaded_label(name))
        return names


def saved_label(label: Label) -> str:
    """A label as text, with its type.

    Raises:
        InputError: A label of another type than str, int, float and bool.

    >>> saved_label(1), saved_label(True), loaded_label("float:inf")
    ('int:1', 'bool:True', inf)
    """
    plain = label.item() if isinstance(label, np.generic) else label
    kind = type(plain).__name__
    if type(plain) is not _TYPES.get(kind):
        raise InputError(
            f"label {label!r} is of type {kind} and cannot be saved; use strings, numbers or booleans"
        )
    return f"{kind}:{plain}"


def loaded_label(name: str) -> Label:
    """Invert ``saved_label``; raises ValueError or KeyError where it is none."""
    kind, _, text = name.partition(":")
    if kind == "bool":
        return {"True": True, "False": False}[text]
    label: Label = _TYPES[kind](text)
    return label


_TYPES: dict[str, type] = {kind.__name__: kind for kind in (str, int, float, bool)}
