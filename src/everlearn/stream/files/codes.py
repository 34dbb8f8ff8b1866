"""The codes file: examples with their integer codes, so that texts are encoded only once.

Parquet with zstd. Columns: ``id``, ``target``, ``domain``, ``time``, ``text`` (strings), ``fields``
(a JSON object as a string), ``dense`` (fixed-size binary, int8), ``gram_ids`` (binary, uint32 little
endian), ``gram_values`` (binary, uint8). The metadata key ``everlearn.codes`` holds JSON:
``format_version``, ``coder_fingerprint``, ``coder_config``.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from everlearn.errors import InputError, StorageError
from everlearn.label_set import is_set
from everlearn.stream.batches import BatchReader
from everlearn.stream.files.columnar import RowRecords, first_row_of, open_parquet, parquet_pieces
from everlearn.stream.files.row_digest import pieces_behind
from everlearn.stream.records.labels import AS_SETS
from everlearn.stream.records.record_error import RecordError
from everlearn.stream.source import SourceConfig
from everlearn.types import Code, Cursor, Example, Json

__all__ = ["CodesSource", "CodesWriter", "is_codes_file"]

_FORMAT_VERSION = 1
_METADATA_KEY = b"everlearn.codes"
_ROWS_PER_GROUP = 4_096


def _schema(dense_size: int, metadata: Mapping[str, Json]) -> pa.Schema:
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("target", pa.string()),
            pa.field("domain", pa.string()),
            pa.field("time", pa.string()),
            pa.field("text", pa.string()),
            pa.field("fields", pa.string()),
            pa.field("dense", pa.binary(dense_size), nullable=False),
            pa.field("gram_ids", pa.binary(), nullable=False),
            pa.field("gram_values", pa.binary(), nullable=False),
        ],
        metadata={_METADATA_KEY: json.dumps(metadata, sort_keys=True).encode()},
    )


class CodesWriter:
    """Writes a codes file. Until ``close`` has returned, the file does not exist under its name.

    As a context manager it closes at the end, or leaves nothing behind where an error comes up.

    Args:
        path: The file to make; one that exists is replaced.
        coder_fingerprint: What identifies the coder.
        coder_config: Its settings, JSON.
        dense_size: Length D of the dense codes.

    Raises:
        StorageError: The file cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        coder_fingerprint: str,
        coder_config: Mapping[str, Json],
        dense_size: int,
    ) -> None:
        self._path = Path(path)
        self._temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}.tmp")
        self._dense_size = dense_size
        metadata = {
            "format_version": _FORMAT_VERSION,
            "coder_fingerprint": coder_fingerprint,
            "coder_config": dict(coder_config),
        }
        self._schema = _schema(dense_size, metadata)
        self._waiting: list[Row] = []
        self._failure: StorageError | None = None
        try:
            self._file: BinaryIO = open(self._temporary, "wb")  # noqa: SIM115
        except OSError as error:
            raise self._storage_error(error) from error
        self._writer: pq.ParquetWriter | None = pq.ParquetWriter(
            self._file, self._schema, compression="zstd", use_dictionary=["target", "domain"]
        )

    def write(self, examples: Sequence[Example]) -> None:
        """Add examples, in order. All must have a code of the size given.

        Raises:
            ValueError: One has no code, or one of another size; nothing of the call is written.
            StorageError: Writing failed.
        """
        if self._failure is not None:
            raise self._failure
        self._waiting += [_row(example, self._dense_size) for example in examples]
        while len(self._waiting) >= _ROWS_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        assert self._writer is not None, "write after close"
        group, self._waiting = self._waiting[:_ROWS_PER_GROUP], self._waiting[_ROWS_PER_GROUP:]
        try:
            self._writer.write_table(pa.Table.from_pylist(group, schema=self._schema))
        except OSError as error:
            raise self._given_up(error) from error

    def close(self) -> None:
        """Write what is left, bring it to the disk and give the file its name. Harmless when repeated.

        Raises:
            StorageError: Writing failed; no file, or the one from before, stands under the name.
        """
        if self._failure is not None:
            raise self._failure
        if self._writer is None:
            return
        if self._waiting:
            self._flush()
        try:
            self._writer.close()
            self._writer = None
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self._temporary, self._path)
            _sync_folder(self._path.parent)
        except OSError as error:
            raise self._given_up(error) from error

    def _given_up(self, error: OSError) -> StorageError:
        self._abandon()
        self._failure = self._storage_error(error)
        return self._failure

    def _abandon(self) -> None:
        # The temporary file is of no use any more, so neither is what goes wrong in closing it.
        writer, self._writer = self._writer, None
        with contextlib.suppress(OSError):
            if writer is not None:
                # Else the writer would try again, and fail, when it is collected.
                writer.is_open = False
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    def _storage_error(self, error: OSError) -> StorageError:
        return StorageError(f"{self._path} cannot be written: {error.strerror or error}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        elif self._writer is not None:
            self._abandon()


Row = dict[str, Any]


def _row(example: Example, dense_size: int) -> Row:
    code = example.code
    if code is None:
        raise ValueError(f"example {example.id!r} has no code")
    if code.dense.shape != (dense_size,):
        raise ValueError(
            f"example {example.id!r} has a code of shape {code.dense.shape}, not ({dense_size},)"
        )
    return {
        "id": example.id,
        "target": example.target,
        "domain": example.domain,
        "time": example.time,
        "text": example.text,
        "fields": json.dumps(dict(example.fields)) if example.fields else None,
        "dense": code.dense.astype(np.int8, casting="safe").tobytes(),
        "gram_ids": code.gram_ids.astype("<u4", casting="safe").tobytes(),
        "gram_values": code.gram_values.astype(np.uint8, casting="safe").tobytes(),
    }


def _sync_folder(folder: Path) -> None:
    # A rename is durable only once its folder is; some systems cannot open folders.
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def is_codes_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a codes file of any version. False for what cannot be read."""
    try:
        return _METADATA_KEY in (pq.read_schema(path).metadata or {})
    except (OSError, pa.ArrowException):
        return False


class CodesSource:
    """A codes file as a source; its examples come with their codes.

    Attributes:
        coder_fingerprint: What identifies the coder that made the codes.
        coder_config: Its settings.
        dense_size: Length D of the dense codes.

    Args:
        path: The file.
        config: Only ``strict``, and what targets may be, matters; the columns of a codes file are fixed.

    Raises:
        InputError: The file is no codes file, or one of another format version.
    """

    def __init__(self, path: str | os.PathLike[str], config: SourceConfig | None = None) -> None:
        self._path = Path(path)
        self.name = self._path.name
        config = config or SourceConfig()
        self._strict = config.strict
        self._fields = config.fields
        with open_parquet(self._path) as file:
            schema = file.schema_arrow
            self._num_rows = int(file.metadata.num_rows)
        raw = (schema.metadata or {}).get(_METADATA_KEY)
        if raw is None:
            raise InputError(f"{self._path} is no codes file; `everlearn encode` makes one")
        try:
            metadata = json.loads(raw)
            version = metadata["format_version"]
            if version != _FORMAT_VERSION:
                raise InputError(
                    f"{self._path} has codes format version {version}; this release reads version "
                    f"{_FORMAT_VERSION}: encode the texts again"
                )
            self.coder_fingerprint: str = metadata["coder_fingerprint"]
            self.coder_config: dict[str, Json] = metadata["coder_config"]
            self.dense_size: int = schema.field("dense").type.byte_width
            if not schema.equals(_schema(self.dense_size, metadata)):
                raise InputError(f"{self._path} has other columns than a codes file: encode the texts again")
        except InputError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{self._path} has damaged metadata ({error}): encode the texts again"
            ) from error

    def open(self, cursor: Cursor | None = None) -> BatchReader:
        """See Source."""
        file = open_parquet(self._path)
        try:
            row = first_row_of(cursor, self._num_rows, self.name)
            pieces, digest = pieces_behind(row, cursor, partial(parquet_pieces, file), self.name)
        except InputError:
            file.close()
            raise
        records = RowRecords(
            pieces, first_row=row, parse=self._parse, name=self.name, close=file.close, digest=digest
        )
        return BatchReader(records, strict=self._strict)

    def _parse(self, row: Row, number: int) -> Example:
        example = _example(row, number)
        takes_sets = self._fields.several_labels or not self._fields.target_is_label
        if takes_sets or example.target is None or not is_set(example.target):
            return example
        if not self._fields.lenient_target:
            raise RecordError(f"its target is a list, and one label can be learned: {AS_SETS}")
        return example.with_target(None)

    def count(self) -> int | None:
        """Rows."""
        return self._num_rows


def _example(row: Row, number: int) -> Example:
    del number  # A codes file always holds ids.
    gram_ids = np.frombuffer(row["gram_ids"], dtype=np.uint8)
    gram_values = np.frombuffer(row["gram_values"], dtype=np.uint8)
    if len(gram_ids) != 4 * len(gram_values):
        raise RecordError(f"damaged code: {len(gram_ids)} bytes of gram ids for {len(gram_values)} values")
    ids = gram_ids.view("<u4").astype(np.uint32, copy=False)
    if not np.all(ids[1:] > ids[:-1]):
        raise RecordError("damaged code: the gram ids do not increase")
    try:
        fields = json.loads(row["fields"]) if row["fields"] else {}
    except ValueError as error:
        raise RecordError(f"damaged fields: {error}") from None
    return Example(
        id=row["id"],
        text=row["text"],
        target=row["target"],
        domain=row["domain"],
        time=row["time"],
        code=Code(dense=np.frombuffer(row["dense"], dtype=np.int8), gram_ids=ids, gram_values=gram_values),
        fields=fields,
    )
