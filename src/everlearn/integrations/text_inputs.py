"""Which inputs are texts: the columns and rows that users of scikit-learn and river have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np
import numpy.typing as npt

from everlearn.errors import InputError
from everlearn.integrations.label_names import is_missing

__all__ = ["field_text", "texts_in"]

_MOST_SHOWN = 60


def texts_in(X: Any) -> list[str] | None:
    """The texts (N) that X holds; None where it holds numbers, or nothing at all.

    Args:
        X: A list, an array or a Series of texts, or a table of one column (N, 1).

    Raises:
        InputError: One text instead of a list, a row that is no text, or several columns with texts;
            the message names row or columns.
    """
    if isinstance(X, str | bytes):
        raise InputError("X is one text; give a list of texts, [text] for this one")
    if isinstance(X, dict | Set | Iterator) and not hasattr(
        X, "shape"
    ):  # some sparse arrays are dictionaries
        raise InputError(
            f"X is a {type(X).__name__}; give a list, an array or a Series of texts, or a table of numbers"
        )
    if isinstance(X, Sequence) and any(isinstance(item, str | bytes) for item in X):
        return [_plain_text(row, value) for row, value in enumerate(X)]
    cells = _cells(X)
    if cells is None or not _holds_strings(cells):
        return None
    if cells.ndim == 2:
        if cells.shape[1] > 1:
            if _are_numbers(cells):
                return None
            raise InputError(_several_columns(X, cells))
        cells = cells[:, 0]
    return [_plain_text(row, value) for row, value in enumerate(cells.tolist())]


def field_text(record: Mapping[Any, Any]) -> str | None:
    """The text of a dictionary with one field; None where all fields are numbers.

    Raises:
        InputError: There is a text among several fields; the message names them.
    """
    names = [name for name, value in record.items() if isinstance(value, str)]
    if not names:
        return None
    if len(record) == 1:
        return str(record[names[0]])
    if len(names) > 1:
        named = _and([repr(name) for name in names])
        raise InputError(
            f"the fields {named} hold texts; name the one to learn from with on={names[0]!r}, or join "
            "them into one text"
        )
    others = _and([repr(name) for name in record if name != names[0]][:5])
    raise InputError(
        f"the field {names[0]!r} holds a text, and there are others ({others}); on={names[0]!r} learns from "
        "the text alone. To learn from all of them make numbers of the text first"
    )


def _cells(X: Any) -> npt.NDArray[Any] | None:
    """X as objects, of one or two dimensions; None where no string can be in it."""
    if isinstance(X, np.ndarray):
        kinds = [X.dtype.kind]
    elif hasattr(X, "dtypes") and hasattr(X, "columns"):
        kinds = [getattr(dtype, "kind", "O") for dtype in X.dtypes]
    elif hasattr(X, "dtype"):
        kinds = [getattr(X.dtype, "kind", "O")]
    elif isinstance(X, Sequence) and len(X) and _holds_strings_in(X[0]):
        kinds = ["O"]  # the first row tells of all: converting large lists of numbers takes time
    else:
        return None
    if not any(kind in "OUST" for kind in kinds):
        return None
    try:
        cells = np.asarray(X, dtype=object)
    except ValueError:  # rows of different lengths: whoever reads numbers has words for it
        return None
    return cells if cells.ndim in (1, 2) else None


def _holds_strings_in(row: Any) -> bool:
    return isinstance(row, list | tuple | np.ndarray) and any(isinstance(value, str) for value in row)


def _holds_strings(cells: npt.NDArray[Any]) -> bool:
    return any(isinstance(value, str | bytes) for value in cells.ravel())


def _are_numbers(cells: npt.NDArray[Any]) -> bool:
    """Whether strings are spelled numbers, which are read as such in tables."""
    try:
        cells.astype(np.float64)
    except (TypeError, ValueError):
        return False
    return True


def _several_columns(X: Any, cells: npt.NDArray[Any]) -> str:
    texts = [k for k in range(cells.shape[1]) if _holds_strings(cells[:, k])]
    names = [repr(list(X.columns)[k]) if hasattr(X, "columns") else str(k) for k in texts]
    if len(texts) > 1:
        first, second = names[:2]
        return (
            f"X has {cells.shape[1]} columns, and {_and(names)} hold texts; one text a row is learned. Join "
            f"them, for example X[{first}] + ' ' + X[{second}], or make numbers of each column with a "
            "ColumnTransformer"
        )
    return (
        f"X has {cells.shape[1]} columns, and column {names[0]} holds texts; give that column alone, or make "
        "numbers of it with a ColumnTransformer"
    )


def _plain_text(row: int, value: object) -> str:
    if isinstance(value, str):
        return str(value)
    remedy = "leave out rows without text" if is_missing(value) else "give texts as strings"
    shown = repr(value)
    shown = shown if len(shown) <= _MOST_SHOWN else f"{shown[: _MOST_SHOWN - 3]}..."
    raise InputError(f"X: row {row} (from 0) is {shown}, not a text; {remedy}")


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
