"""A journal's write-ahead log, looked at before SQLite opens it.

SQLite takes a log up to its first bad frame and says nothing of what follows. For a crash that is right:
what follows was never committed. For a damaged disk it is not: committed steps would vanish unnoticed.

A log is a header of 32 bytes and frames: a header of 24 bytes and a page each. The checksum of a frame goes
on from that of the frame before, which is stored there too; so frames after a bad one can still be told
from leftovers (https://www.sqlite.org/fileformat2.html#the_write_ahead_log).
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO

import numpy as np

__all__ = ["LogState", "inspect_log"]

_HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24
_LITTLE, _BIG = 0x377F0682, 0x377F0683
_PAGE_BYTES = 16_384  # of every journal; used where the log's own header cannot be read
_BYTES_AT_ONCE = 4 << 20
_MASK = 0xFFFFFFFF
_NATIVE = "<" if sys.byteorder == "little" else ">"
_TRIES = 3

_Sum = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogState:
    """What a write-ahead log holds.

    Attributes:
        num_bytes: Size of the file; 0: it is empty or not there, as after a clean end.
        num_frames: Frames up to the last commit that SQLite will find.
        num_transactions: Commits among them.
        num_unfinished: Frames after that of a transaction that was never committed: a crash came.
        num_lost: Commits, at least, that SQLite will not find because of damage before them. The last may
            be one that a power failure tore; then it was not acknowledged yet.
        damage: What is wrong, in words; empty: nothing that was committed is lost.
    """

    num_bytes: int = 0
    num_frames: int = 0
    num_transactions: int = 0
    num_unfinished: int = 0
    num_lost: int = 0
    damage: str = ""


@dataclass(frozen=True, slots=True)
class _Frame:
    number: int  # from 1
    page: int
    is_commit: bool
    salts: bytes
    stored: _Sum
    content: _Sum  # the checksum of what the frame holds, begun at zero


@dataclass(frozen=True, slots=True)
class _Index:
    """What the shared index (``-shm``), if one was left, knows of the log."""

    salts: bytes
    num_frames: int
    num_in_file: int  # of them are in the main file already


def inspect_log(path: Path) -> LogState:
    """Look at the log of a journal without changing anything, in bounded memory.

    Args:
        path: The journal's main file. Another process may be writing it.
    """
    state = _inspected(path)
    for _ in range(_TRIES):
        if not state.damage:
            break
        # A log that is begun anew just now looks damaged too; but not twice in the same way.
        before, state = state, _inspected(path)
        if state == before:
            break
    return state


def _inspected(path: Path) -> LogState:
    index = _read_index(path.with_name(f"{path.name}-shm"))
    try:
        file = _log_of(path).open("rb")
    except FileNotFoundError:
        return _without_log(index)
    with file:
        num_bytes = file.seek(0, 2)
        file.seek(0)
        if not num_bytes:
            return _without_log(index)
        return _walked(file, num_bytes, index)


def _log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _without_log(index: _Index | None) -> LogState:
    if index is None or index.num_frames <= index.num_in_file:
        return LogState()
    return LogState(num_lost=1, damage=f"it is empty or missing, but had {index.num_frames:,} frames")


def _walked(file: IO[bytes], num_bytes: int, index: _Index | None) -> LogState:
    header = file.read(_HEADER_BYTES)
    magic, _, page_bytes = struct.unpack(">III", header.ljust(_HEADER_BYTES, b"\0")[:12])
    order = {_LITTLE: "<", _BIG: ">"}.get(magic, _NATIVE)
    sum_ = _sum_of(header[:24].ljust(24, b"\0"), order)
    is_readable = magic in (_LITTLE, _BIG) and header[24:] == struct.pack(">II", *sum_)
    if not is_readable:
        page_bytes = _PAGE_BYTES
    num_whole = max(num_bytes - _HEADER_BYTES, 0) // (_FRAME_HEADER_BYTES + page_bytes)
    power = _power(page_bytes // 8 + 1)
    salts = header[16:24] if is_readable else None
    num_frames = num_transactions = num_pending = num_lost = 0
    first_bad = 0 if is_readable else 1
    before: _Sum | None = sum_ if is_readable else None
    for frame in _frames(file, num_whole, page_bytes, order):
        if salts is None:
            # Without the header, the first frame says which salts the others have.
            salts = frame.salts if index is None else index.salts
        matches = before is not None and _advanced(power, before, frame.content) == frame.stored
        before = frame.stored
        if not first_bad:
            if matches and frame.page and frame.salts == salts:
                num_pending += 1
                if frame.is_commit:
                    num_frames, num_pending = frame.number, 0
                    num_transactions += 1
                continue
            first_bad = frame.number
            if frame.salts == salts and frame.is_commit:
                num_lost += 1
        elif frame.salts == salts and frame.is_commit and matches:
            num_lost += 1
    damage = ""
    if num_lost:
        damage = (
            f"frame {first_bad:,} of {num_whole:,} does not match its checksum"
            if is_readable
            else "its header does not match its checksum"
        )
    elif index is not None and index.salts == salts and index.num_frames > num_frames:
        num_lost = 1
        damage = f"it is whole up to frame {num_frames:,}, but {index.num_frames:,} had been committed"
    return LogState(
        num_bytes=num_bytes,
        num_frames=num_frames,
        num_transactions=num_transactions,
        num_unfinished=num_pending,
        num_lost=num_lost,
        damage=damage,
    )


def _frames(file: IO[bytes], count: int, page_bytes: int, order: str) -> Iterator[_Frame]:
    frame_bytes = _FRAME_HEADER_BYTES + page_bytes
    weights = _weights(page_bytes // 8 + 1)
    at_once = max(_BYTES_AT_ONCE // frame_bytes, 1)
    for start in range(0, count, at_once):
        wanted = min(at_once, count - start)
        data = np.frombuffer(file.read(wanted * frame_bytes), np.uint8)
        if len(data) < wanted * frame_bytes:
            return  # another process has emptied the log meanwhile
        rows = data.reshape(wanted, frame_bytes)
        summed = np.concatenate([rows[:, :8], rows[:, _FRAME_HEADER_BYTES:]], axis=1).view(f"{order}u4")
        contents = summed.astype(np.uint32, copy=False) @ weights
        for k in range(wanted):
            page, size, salts, *stored = struct.unpack(">II8sII", rows[k, :_FRAME_HEADER_BYTES].tobytes())
            yield _Frame(
                number=start + k + 1,
                page=page,
                is_commit=size != 0,
                salts=salts,
                stored=(stored[0], stored[1]),
                content=(int(contents[k, 0]), int(contents[k, 1])),
            )


# The checksum takes pairs of words: s0 += x0 + s1; s1 += x1 + s0. As a map of the pair (s0, s1) that is
# s → A·s + B·x with A = (1 1; 1 2) and B = (1 0; 1 1), modulo 2^32. Over n pairs: Aⁿ·s + Σ Aⁿ⁻¹⁻ⁱ·B·xᵢ,
# where the sum does not depend on where it began: one matrix product for many frames at once.

_Matrix = tuple[int, int, int, int]


def _times(a: _Matrix, b: _Matrix) -> _Matrix:
    return (
        (a[0] * b[0] + a[1] * b[2]) & _MASK,
        (a[0] * b[1] + a[1] * b[3]) & _MASK,
        (a[2] * b[0] + a[3] * b[2]) & _MASK,
        (a[2] * b[1] + a[3] * b[3]) & _MASK,
    )


@lru_cache(maxsize=4)
def _powers(num_pairs: int) -> list[_Matrix]:
    powers: list[_Matrix] = [(1, 0, 0, 1)]
    for _ in range(num_pairs):
        powers.append(_times((1, 1, 1, 2), powers[-1]))
    return powers


def _power(num_pairs: int) -> _Matrix:
    return _powers(num_pairs)[num_pairs]


@lru_cache(maxsize=4)
def _weights(num_pairs: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint32]]:
    """What each word of a block adds to both sums: (2 · num_pairs, 2)."""
    products = [_times(power, (1, 0, 1, 1)) for power in reversed(_powers(num_pairs)[:num_pairs])]
    blocks = np.array(products, np.uint32).reshape(num_pairs, 2, 2)  # pair, sum, word
    return np.ascontiguousarray(blocks.transpose(0, 2, 1).reshape(2 * num_pairs, 2))


def _advanced(power: _Matrix, start: _Sum, content: _Sum) -> _Sum:
    return (
        (power[0] * start[0] + power[1] * start[1] + content[0]) & _MASK,
        (power[2] * start[0] + power[3] * start[1] + content[1]) & _MASK,
    )


def _sum_of(data: bytes, order: str) -> _Sum:
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    s0 = s1 = 0
    for k in range(0, len(words), 2):
        s0 = (s0 + words[k] + s1) & _MASK
        s1 = (s1 + words[k + 1] + s0) & _MASK
    return s0, s1


def _read_index(path: Path) -> _Index | None:
    """The shared index, where it is whole; after a crash it often is, after a power failure seldom."""
    try:
        with path.open("rb") as file:
            data = file.read(100)
    except OSError:
        return None  # it is a witness, not a need
    if len(data) < 100 or data[:48] != data[48:96] or not data[12]:
        return None
    if struct.unpack("=II", data[40:48]) != _sum_of(data[:40], _NATIVE):
        return None
    return _Index(
        salts=data[32:40],
        num_frames=struct.unpack("=I", data[16:20])[0],
        num_in_file=struct.unpack("=I", data[96:100])[0],
    )
