"""Dictionaries of named features as vectors of a fixed length, while names come and go."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from everlearn.errors import ConfigError, InputError
from everlearn.integrations.label_names import is_missing
from everlearn.types import FloatArray, Json

__all__ = ["ColumnIndex"]


class ColumnIndex:
    """Gives each feature name a column of its own, as long as there are free ones.

    A name's column is that of its hash or, if another name has it, the next free one. So columns hardly
    depend on the order in which names appear, and not at all on the order within an example. When all
    columns are taken, further names share the columns of their hashes; their values are added up there.

    A feature that an example lacks counts as 0; so does one that is None, NaN, or pandas' NA or NaT.

    Args:
        num_columns: Columns, hence names that are kept apart.

    Raises:
        ConfigError: ``num_columns`` is below 1.

    >>> index = ColumnIndex(4)
    >>> learned = index.vectors([{"a": 1.0, "b": 2.0}], grow=True)
    >>> sorted(learned[0].tolist())
    [0.0, 0.0, 1.0, 2.0]
    >>> index.vectors([{"b": 5.0, "never learned": 7.0}]).sum()
    np.float64(5.0)
    """

    def __init__(self, num_columns: int) -> None:
        if num_columns < 1:
            raise ConfigError(f"num_columns: {num_columns} is below 1")
        self.num_columns = num_columns
        self._column_of: dict[str, int] = {}
        self._taken: set[int] = set()
        self._has_told = False

    def vectors(self, records: Sequence[Mapping[Any, Any]], *, grow: bool = False) -> FloatArray:
        """Vectors (N, num_columns) of N records.

        Args:
            records: Feature values by name. Names are compared as strings.
            grow: Whether names not seen before get a column (when learning) or are passed over.

        Raises:
            InputError: A value is not a number, or is infinite; the message names the feature.
        """
        # All values are read before any name gets a column, so a wrong record leaves no trace.
        read = [{str(name): _number(name, value) for name, value in record.items()} for record in records]
        vectors = np.zeros((len(read), self.num_columns))
        for row, record in zip(vectors, read, strict=True):
            for name in sorted(record):
                column = self._column(name, grow)
                if column is not None:
                    row[column] += record[name]
        return vectors

    def to_json(self) -> Json:
        """All of it."""
        return {"num_columns": self.num_columns, "column_of": self._column_of}

    @classmethod
    def from_json(cls, saved: Json) -> ColumnIndex:
        """Invert ``to_json``; raises KeyError, TypeError or ValueError where it is nothing of the kind."""
        index = cls(saved["num_columns"])
        index._column_of = {str(name): int(column) for name, column in saved["column_of"].items()}
        index._taken = set(index._column_of.values())
        return index

    def _column(self, name: str, grow: bool) -> int | None:
        column = self._column_of.get(name)
        if column is not None:
            return column
        is_full = len(self._taken) == self.num_columns
        if not grow and not is_full:
            return None
        digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        column = int.from_bytes(digest, "big") % self.num_columns
        if is_full:
            self._tell_once(name)
            return column
        while column in self._taken:
            column = (column + 1) % self.num_columns
        self._taken.add(column)
        self._column_of[name] = column
        return column

    def _tell_once(self, name: str) -> None:
        if not self._has_told:
            self._has_told = True
            warnings.warn(
                f"all {self.num_columns} columns are taken, so {name!r} and the features that come after it "
                "share columns with others, which blurs them; raise num_columns or, where features are words "
                "of a text, give the text itself",
                UserWarning,
                stacklevel=2,
            )


def _number(name: Hashable, value: Any) -> float:
    if is_missing(value):
        return 0.0
    if isinstance(value, str | bytes):
        raise InputError(
            f"feature {name!r} is {value!r}, not a number; encode it first, or give the text alone"
        )
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"feature {name!r} is {value!r}, not a number") from error
    if math.isinf(number):
        raise InputError(f"feature {name!r} is infinite")
    return number
