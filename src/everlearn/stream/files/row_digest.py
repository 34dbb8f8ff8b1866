"""Whether the rows of a table that were read are still what they were: a digest of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import pyarrow as pa

from everlearn.errors import InputError
from everlearn.stream.source import ChangedSourceError
from everlearn.types import Cursor, Json

__all__ = ["RowDigest", "pieces_behind"]

_ROWS_PER_BLOCK = 512


class RowDigest:
    """Digests of a table's first rows, however they come in pieces.

    Rows are hashed in blocks of a fixed number, each with the digest of the ones before it, so that no more
    than a block is kept.
    """

    def __init__(self) -> None:
        self._before = b""
        self._first_row = 0
        self._pieces: list[Any] = []

    def add(self, piece: Any) -> None:
        """Take in the rows that follow, a table or a record batch."""
        self._pieces.append(piece if isinstance(piece, pa.Table) else pa.Table.from_batches([piece]))

    def of(self, num_rows: int) -> str:
        """The digest (hex) of the first rows; never of fewer than at the last call."""
        rows = pa.concat_tables(self._pieces) if self._pieces else None
        while rows is not None and num_rows - self._first_row >= _ROWS_PER_BLOCK:
            self._before = self._hashed(rows.slice(0, _ROWS_PER_BLOCK))
            self._first_row += _ROWS_PER_BLOCK
            rows = rows.slice(_ROWS_PER_BLOCK)
        self._pieces = [] if rows is None else [rows]
        rest = num_rows - self._first_row
        found = self._before if rows is None or not rest else self._hashed(rows.slice(0, rest))
        return found.hex()[:32]

    def _hashed(self, rows: Any) -> bytes:
        found = hashlib.sha256(self._before)
        try:  # copied, a slice has no trace of the rows beside it
            copied = rows.take(pa.array(range(rows.num_rows))).combine_chunks()
        except pa.ArrowNotImplementedError:  # a type that cannot be copied by rows
            copied = rows.combine_chunks()
        with pa.BufferOutputStream() as sink:
            with pa.ipc.new_stream(sink, copied.schema) as writer:
                writer.write_table(copied)
            found.update(sink.getvalue())
        return found.digest()


def pieces_behind(
    row: int, cursor: Cursor | None, pieces_from: Callable[[int], Iterator[Any]], name: str
) -> tuple[Iterator[Any], RowDigest | None]:
    """The pieces of a table from a row on, and the digest of what is before it.

    Args:
        row: At which the cursor stands.
        cursor: The cursor; one without a digest says nothing of the rows before it.
        pieces_from: Gives tables or record batches that begin at a row.
        name: The source's name.

    Returns:
        The pieces, and the digest to add them to; None where the rows before are not known.

    Raises:
        ChangedSourceError: What lies before the row is not what was read then.
        InputError: The table is shorter, or cannot be read.
    """
    expected: Json = None if cursor is None else cursor.get("sha256")
    if row and expected is None:
        return pieces_from(row), None
    digest, pieces, remaining = RowDigest(), pieces_from(0), row
    while remaining:
        try:
            piece = next(pieces)
        except StopIteration:
            raise ChangedSourceError(
                f"{name} ends before row {row}, where reading stopped: another file?"
            ) from None
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{name}: the file cannot be read up to row {row}: {error}") from error
        if piece.num_rows > remaining:
            pieces = chain([piece.slice(remaining)], pieces)
            piece = piece.slice(0, remaining)
        digest.add(piece)
        remaining -= piece.num_rows
        digest.of(row - remaining)  # lets go of the blocks that are complete
    if row and digest.of(row) != expected:
        raise ChangedSourceError(f"{name} was changed before row {row:,}, where reading stopped")
    return pieces, digest
