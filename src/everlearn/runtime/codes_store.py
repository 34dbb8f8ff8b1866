"""The codes of everything a run has learned, in codes files of bounded size.

With them an example can be forgotten exactly, runs can be merged, and a learner of other sizes can
learn the same stream again without the texts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from everlearn.errors import RunError, StateError
from everlearn.runtime.durable_files import replacing, sha256_of, storage_errors
from everlearn.runtime.run_record import CodesPart, LearnerRecord
from everlearn.stream.codes import CodesSource, CodesWriter
from everlearn.stream.source import EndOfStream
from everlearn.types import Example

__all__ = ["CodesStore", "Matcher", "Selection", "example_matcher"]

EXAMPLES_PER_PART = 20_000
_BUFFERED_EXAMPLES = 1_024
_SMALL_PARTS = 8
_ROWS_PER_READ = 2_048
_DESCRIPTIVE_COLUMNS = ("id", "target", "domain", "time", "fields")

Matcher = Callable[[Mapping[str, Any]], bool]
"""Says of a row (id, target, domain, time and ``fields`` as a dict) whether it is meant."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Examples selected from a store.

    Attributes:
        ids: Their ids.
        rows: Row numbers by part; only parts with selected rows.
    """

    ids: list[str] = field(default_factory=list)
    rows: dict[str, list[int]] = field(default_factory=dict)


class CodesStore:
    """Appends to, scans and rewrites the codes files of a run folder.

    Files are never changed in place: a rewritten part is a new file, and the run's record, written
    afterwards, decides which of them count.

    Args:
        folder: The run folder.
        parts: The parts that the run's record names.
        learner: Says how the codes were made.
        keep_text: Whether texts are kept beside the codes.
    """

    def __init__(
        self, folder: Path, parts: Sequence[CodesPart], learner: LearnerRecord, *, keep_text: bool = False
    ) -> None:
        self._folder = folder
        self._parts = list(parts)
        self._learner = learner
        self._keep_text = keep_text
        self._buffer: list[Example] = []
        self._writer: CodesWriter | None = None
        self._open_part: tuple[Path, int] | None = None

    @property
    def num_examples(self) -> int:
        """Examples in the store, those not yet flushed included."""
        in_writer = self._open_part[1] if self._open_part else 0
        return sum(part.examples for part in self._parts) + in_writer + len(self._buffer)

    def append(self, examples: Sequence[Example]) -> None:
        """Take learned examples; those without target or code are passed over."""
        for example in examples:
            if example.target is not None and example.code is not None:
                self._buffer.append(example if self._keep_text else replace(example, text=None, vector=None))
        if len(self._buffer) >= _BUFFERED_EXAMPLES:
            self._write_buffer()

    def flush(self) -> list[CodesPart]:
        """Finish the file being written, merge small ones, and return all parts for the record."""
        self._write_buffer()
        self._finish_part()
        self._merge_small_parts()
        return list(self._parts)

    def discard(self) -> None:
        """Give up what was not flushed."""
        self._buffer.clear()
        if self._writer is not None:
            self._writer.__exit__(RuntimeError, None, None)
        self._writer = self._open_part = None

    def add_parts_of(self, other: Path, parts: Sequence[CodesPart]) -> None:
        """Copy the parts of another run into this store."""
        for part in parts:
            source = _verified(other, part)
            path = self._next_path()
            with storage_errors(path), replacing(path) as temporary:
                _copy(source, temporary)
            self._add(path, part.examples)

    def scan(self, batch_size: int = 512) -> Iterator[list[Example]]:
        """All flushed examples, with their codes."""
        for part in self._parts:
            yield from _read(_verified(self._folder, part), batch_size)

    def select(self, matches: Matcher) -> Selection:
        """Find examples by what describes them; codes and texts are not read."""
        selection = Selection()
        for part in self._parts:
            rows: list[int] = []
            number = 0
            with pq.ParquetFile(_verified(self._folder, part)) as file:
                for batch in file.iter_batches(_ROWS_PER_READ, columns=list(_DESCRIPTIVE_COLUMNS)):
                    for row in batch.to_pylist():
                        row["fields"] = json.loads(row["fields"]) if row["fields"] else {}
                        if matches(row):
                            rows.append(number)
                            selection.ids.append(row["id"])
                        number += 1
            if rows:
                selection.rows[part.file] = rows
        return selection

    def read_selected(self, selection: Selection, batch_size: int = 512) -> Iterator[list[Example]]:
        """The selected examples with their codes."""
        for part in self._parts:
            if part.file in selection.rows:
                kept = np.zeros(part.examples, dtype=np.bool_)
                kept[selection.rows[part.file]] = True
                path = self._folder / "codes" / ".selected.parquet"
                try:
                    with storage_errors(path):
                        _copy_rows(self._folder / part.file, path, kept)
                    yield from _read(path, batch_size)
                finally:
                    path.unlink(missing_ok=True)

    def drop(self, selection: Selection) -> list[CodesPart]:
        """Rewrite the parts that hold selected examples without them; returns all parts."""
        for index, part in enumerate(list(self._parts)):
            if part.file not in selection.rows:
                continue
            kept = np.ones(part.examples, dtype=np.bool_)
            kept[selection.rows[part.file]] = False
            path = self._next_path()
            with storage_errors(path), replacing(path) as temporary:
                _copy_rows(self._folder / part.file, temporary, kept)
            self._parts[index] = self._described(path, int(kept.sum()))
        self._parts = [part for part in self._parts if part.examples]
        return list(self._parts)

    def _write_buffer(self) -> None:
        while self._buffer:
            if self._writer is None:
                fingerprint, config = self._learner.coder_fingerprint, self._learner.coder_config
                assert fingerprint is not None, "only learners with a coder have codes"
                path = self._next_path()
                with storage_errors(path):
                    self._writer = CodesWriter(
                        path,
                        coder_fingerprint=fingerprint,
                        coder_config=config or {},
                        dense_size=self._learner.dense_size or 0,
                    )
                self._open_part = (path, 0)
            assert self._open_part is not None
            path, written = self._open_part
            taken = self._buffer[: EXAMPLES_PER_PART - written]
            with storage_errors(path):
                self._writer.write(taken)
            del self._buffer[: len(taken)]
            self._open_part = (path, written + len(taken))
            if written + len(taken) >= EXAMPLES_PER_PART:
                self._finish_part()

    def _finish_part(self) -> None:
        if self._writer is not None and self._open_part is not None:
            path, written = self._open_part
            with storage_errors(path):
                self._writer.close()
            self._add(path, written)
        self._writer = self._open_part = None

    def _merge_small_parts(self) -> None:
        # Frequent saving makes many small files; merged in eights, each row is copied a few times at most.
        small = [part for part in self._parts if part.examples < EXAMPLES_PER_PART // _SMALL_PARTS]
        if len(small) < _SMALL_PARTS:
            return
        path = self._next_path()
        with storage_errors(path), replacing(path) as temporary:
            files = [self._folder / part.file for part in small]
            _concatenate(files, temporary)
        self._parts = [part for part in self._parts if part not in small]
        self._add(path, sum(part.examples for part in small))

    def _next_path(self) -> Path:
        folder = self._folder / "codes"
        taken = [int(name.stem.removeprefix("part-")) for name in folder.glob("part-*.parquet")]
        return folder / f"part-{max(taken, default=0) + 1:05d}.parquet"

    def _add(self, path: Path, examples: int) -> None:
        self._parts.append(self._described(path, examples))

    def _described(self, path: Path, examples: int) -> CodesPart:
        return CodesPart(file=f"codes/{path.name}", sha256=sha256_of(path), examples=examples)


def example_matcher(ids: Sequence[str], where: Sequence[tuple[str, str]]) -> Matcher:
    """A matcher: one of the ``ids`` (if any are given), and every field of ``where`` has its value.

    Fields are looked up among id, target (also called label), domain and time first, then among the
    record's other fields. Numbers and booleans match by their text.

    >>> matches = example_matcher([], [("customer", "c7")])
    >>> matches({"id": "1", "target": "refund", "fields": {"customer": "c7"}})
    True
    """
    wanted = frozenset(ids)

    def matches(row: Mapping[str, Any]) -> bool:
        if wanted and row["id"] not in wanted:
            return False
        return all(_text(_value(row, name)) == value for name, value in where)

    return matches


def _value(row: Mapping[str, Any], name: str) -> Any:
    fields = row["fields"]
    if name in fields:
        return fields[name]
    return row.get("target" if name == "label" else name)


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _verified(folder: Path, part: CodesPart) -> Path:
    path = folder / part.file
    if not path.is_file():
        raise StateError(f"{path} is missing. Restore it from a copy of the run.")
    if sha256_of(path) != part.sha256:
        raise StateError(
            f"{path} is damaged: its content does not match the SHA-256 in run.json. "
            "Restore it from a copy of the run."
        )
    return path


def _read(path: Path, batch_size: int) -> Iterator[list[Example]]:
    reader = CodesSource(path).open()
    try:
        while True:
            batch = list(reader.next_batch(batch_size))
            if rejected := reader.take_rejected():
                raise RunError(f"{path}: {rejected[0].place}: {rejected[0].reason}")
            yield batch
    except EndOfStream:
        return
    finally:
        reader.close()


def _copy_rows(source: Path, target: Path, kept: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
    start = 0
    with (
        pq.ParquetFile(source) as file,
        pq.ParquetWriter(target, file.schema_arrow, compression="zstd") as writer,
    ):
        for batch in file.iter_batches(_ROWS_PER_READ):
            rows = batch.filter(pa.array(kept[start : start + batch.num_rows]))
            start += batch.num_rows
            if rows.num_rows:
                writer.write_batch(rows)


def _concatenate(sources: Sequence[Path], target: Path) -> None:
    with pq.ParquetFile(sources[0]) as first:
        schema = first.schema_arrow
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for source in sources:
            with pq.ParquetFile(source) as file:
                for batch in file.iter_batches(_ROWS_PER_READ):
                    writer.write_batch(batch)


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as reader, target.open("wb") as writer:
        while chunk := reader.read(1 << 20):
            writer.write(chunk)
