"""The labels that scikit-learn's callers give: one a row, all of one type, none missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from everlearn.errors import InputError
from everlearn.integrations.label_names import is_missing

__all__ = ["label_kind", "require_kind", "require_one_label_a_row"]


def require_one_label_a_row(y: npt.ArrayLike | None) -> None:
    """Refuse targets of several columns, and rows that are collections of labels.

    Here several labels a row would become as many binary targets, by the conventions of
    ``MultiLabelBinarizer``.

    Raises:
        InputError: ``y`` has several labels a row.
    """
    if isinstance(y, Sequence) and not isinstance(y, str | bytes):
        for row, label in enumerate(y):
            if isinstance(label, set) or (isinstance(label, list | tuple) and len(label) != 1):
                raise InputError(f"y: row {row} (from 0) is {label!r}, {_REMEDY}")
    shape = getattr(y, "shape", None) or np.shape(np.asarray(y, dtype=object))
    if len(shape) > 1 and shape[1] != 1:
        raise InputError(f"y has {shape[1]} columns, {_REMEDY}")


_REMEDY = (
    "but one label a row is learned; several labels a row are learned by "
    "everlearn.integrations.sklearn_multilabel.MultiLabelClassifier, or by this classifier in a "
    "sklearn.multiclass.OneVsRestClassifier; several targets in a sklearn.multioutput.MultiOutputClassifier"
)


def label_kind(y: npt.ArrayLike | None, name: str) -> str | None:
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


def require_kind(kind: str | None, other: str | None, where: str) -> None:
    """Refuse labels of another kind. Raises InputError, which says where the other is."""
    if kind is not None and other is not None and kind != other:
        raise InputError(f"y holds {kind}, but {where} {other}; give all labels one type")
