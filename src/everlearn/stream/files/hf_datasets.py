"""Data sets of the Hugging Face ``datasets`` library, by name or from a local folder (extra ``datasets``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from everlearn.errors import InputError, MissingExtraError
from everlearn.stream.batches import BatchReader
from everlearn.stream.files.columnar import RowRecords, first_row_of, mapped_rows
from everlearn.stream.files.delimited import require_columns
from everlearn.stream.source import SourceConfig
from everlearn.types import Cursor, Example

__all__ = ["HuggingFaceSource"]

_ROWS_PER_PIECE = 512


class HuggingFaceSource:
    """One split of a data set. Class numbers are turned into the names of the classes.

    The library keeps the data in Arrow files mapped into memory, so nothing is read whole.

    Args:
        dataset: Name on the hub, or path of a folder: one written by ``save_to_disk``, or any folder
            of data files that the library reads.
        config: Names of columns, strictness, longest text.
        split: Which split; by default ``train``, or the only one there is.

    Raises:
        MissingExtraError: ``datasets`` is not installed.
        InputError: There is no such data set or split.
    """

    def __init__(self, dataset: str, config: SourceConfig, *, split: str | None = None) -> None:
        try:
            import datasets
        except ImportError as error:
            raise MissingExtraError("datasets", "datasets") from error
        self._config = config
        path = Path(dataset)
        try:
            if (path / "state.json").exists() or (path / "dataset_dict.json").exists():
                loaded = datasets.load_from_disk(dataset)
            else:
                loaded = datasets.load_dataset(dataset)
        except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
            raise InputError(f"data set {dataset!r} cannot be loaded: {error}") from error
        table, split = _choose_split(loaded, split, dataset)
        self._table = table.with_format("arrow")
        # A column of labels, or of lists of labels.
        features = {name: getattr(one, "feature", one) for name, one in table.features.items()}
        self._class_names = {
            name: feature.names
            for name, feature in features.items()
            if isinstance(feature, datasets.ClassLabel)
        }
        stem = path.name if path.is_dir() else dataset
        self.name = f"{stem}:{split}" if split else stem

    def open(self, cursor: Cursor | None = None) -> BatchReader:
        """See Source."""
        require_columns(self._table.column_names, self._config.fields, self.name)
        row = first_row_of(cursor, len(self._table), self.name)
        records = RowRecords(self._pieces(row), first_row=row, parse=self._parse(), name=self.name)
        return BatchReader(records, strict=self._config.strict)

    def count(self) -> int | None:
        """Rows."""
        return len(self._table)

    def _pieces(self, first_row: int) -> Iterator[Any]:
        for begin in range(first_row, len(self._table), _ROWS_PER_PIECE):
            yield self._table[begin : begin + _ROWS_PER_PIECE]

    def _parse(self) -> Any:
        parse = mapped_rows(self._config, self.name)
        class_names = self._class_names

        def parse_named(row: dict[str, Any], number: int) -> Example:
            for column, names in class_names.items():
                value = row[column]
                if isinstance(value, int):
                    row[column] = _named(value, names)
                elif isinstance(value, list):
                    row[column] = [_named(one, names) for one in value]
            return parse(row, number)

        return parse_named if class_names else parse


def _named(value: Any, names: Sequence[str]) -> Any:
    """The name of a label; the library writes -1 for "no label"."""
    if not isinstance(value, int):
        return value
    return names[value] if 0 <= value < len(names) else None


def _choose_split(loaded: Any, split: str | None, dataset: str) -> tuple[Any, str | None]:
    if not isinstance(loaded, dict):
        if split is not None:
            raise InputError(f"data set {dataset!r} has no splits, so no split {split!r}; leave it out")
        return loaded, None
    chosen = split or ("train" if "train" in loaded else next(iter(loaded)) if len(loaded) == 1 else None)
    if chosen not in loaded:
        missing = f"has no split {chosen!r}" if chosen else "has several splits"
        raise InputError(f"data set {dataset!r} {missing}; name one of: {', '.join(sorted(loaded))}")
    return loaded[chosen], chosen
