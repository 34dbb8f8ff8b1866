"""Tensors in one file, laid out so that a process computes on the mapped file itself.

Every process that maps the file reads the same pages of memory; nothing is copied. A page that a process
writes to becomes its own (copy on write): the file and the others never see it. Were the mapping read-only, a
model that changes its weights while it computes (RWKV scales them) would end the process.

Tensors begin at multiples of 64 bytes, as torch's own do, so that products take the same path and give the
same bits as with a private copy (files of safetensors have no such room between tensors).

    magic (8 bytes) | length of the header (8 bytes, little-endian) | header (JSON) | tensors | digest

The digest, SHA-256 of all before it, is the file's name among others of its kind, and tells what is torn or
was changed.

One mapping holds one file descriptor, however many tensors there are.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import mmap
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch

from everlearn.errors import StateError
from everlearn.types import Json

__all__ = ["MappedWeights", "map_weights", "write_weights"]

_MAGIC = b"EVERLW01"
_PREFIX = struct.Struct("<8sQ")
_ALIGNMENT = 64
_MOST_HEADER = 64 << 20
_DIGEST_BYTES = hashlib.sha256().digest_size
_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.float64,
        torch.float32,
        torch.bfloat16,
        torch.float16,
        torch.int64,
        torch.int32,
        torch.int16,
        torch.int8,
        torch.uint8,
        torch.bool,
    )
}


@dataclass(frozen=True, slots=True, eq=False)
class MappedWeights:
    """What a file holds, mapped.

    Attributes:
        path: The file.
        tensors: By name. What is written to them is this process's own.
        about: What was written with them.
        sha256: Of what was written (hex), as the file says; see ``verify``.
        num_bytes: Length of the file.
        device_and_inode: Which file it is, whatever its names are by now.
    """

    path: Path
    tensors: dict[str, torch.Tensor]
    about: dict[str, Json]
    sha256: str
    num_bytes: int
    device_and_inode: tuple[int, int]
    _mapping: mmap.mmap

    def verify(self) -> bool:
        """Whether the file holds what was written; reads all of it."""
        with memoryview(self._mapping) as whole:
            return hashlib.sha256(whole[:-_DIGEST_BYTES]).hexdigest() == self.sha256


def write_weights(file: IO[bytes], tensors: Mapping[str, torch.Tensor], about: Mapping[str, Json]) -> str:
    """Write tensors; names that share one tensor share it in the file.

    Args:
        file: Open for writing, empty.
        tensors: By name; dense.
        about: What to write with them; JSON.

    Returns:
        SHA-256 (hex) of what was written, the digest at its end left out.

    Raises:
        StateError: A tensor is of a number format that files do not hold.
        OSError: Writing failed.
    """
    entries: dict[str, Json] = {}
    parts: list[torch.Tensor] = []
    known: dict[tuple[object, ...], tuple[str, torch.Tensor]] = {}
    offset = 0
    for name in sorted(tensors):
        tensor = tensors[name].detach()
        number_format = str(tensor.dtype).removeprefix("torch.")
        if number_format not in _DTYPES:
            raise StateError(f"{name} is of {number_format}, which no file of weights holds")
        same = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), number_format)
        if tensor.numel() and same in known:
            entries[name] = entries[known[same][0]]
            continue
        known[same] = name, tensor
        tensor = tensor.cpu().contiguous()
        offset = _aligned(offset)
        entries[name] = {"dtype": number_format, "shape": list(tensor.shape), "offset": offset}
        parts.append(tensor)
        offset += tensor.nbytes
    header = json.dumps({"tensors": entries, "about": dict(about), "num_bytes": offset}).encode()
    digest = hashlib.sha256()
    written = 0

    def write(data: Any) -> None:
        nonlocal written
        file.write(data)
        digest.update(data)
        written += len(data)

    write(_PREFIX.pack(_MAGIC, len(header)))
    write(header)
    write(bytes(_aligned(written) - written))
    for tensor in parts:
        write(bytes(_aligned(written) - written))
        write(tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b"")
    file.write(digest.digest())
    return digest.hexdigest()


def map_weights(path: Path, *, needs_name: bool = False) -> MappedWeights:
    """Map a file that ``write_weights`` wrote. Header and length are checked, the tensors are not read.

    The file is locked as in use (shared) until the last tensor is gone, also when its process was killed: the
    mapping keeps the open file.

    Args:
        path: The file.
        needs_name: A file that has just lost its name counts as gone.

    Raises:
        StateError: It is truncated, or no such file.
        FileNotFoundError: It is gone.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        if needs_name and not os.fstat(file.fileno()).st_nlink:
            raise FileNotFoundError(f"{path} has just been removed")
        header, start = _read_header(file, path)
        status = os.fstat(file.fileno())
        length = status.st_size
        expected = start + int(header["num_bytes"]) + _DIGEST_BYTES
        if length != expected:
            raise StateError(
                f"{path} has {length:,} bytes and should have {expected:,}: it is truncated or was changed; "
                "delete it, and it is made anew"
            )
        mapping = mmap.mmap(file.fileno(), length, access=mmap.ACCESS_COPY)
    tensors = {name: _tensor(mapping, start, entry, path, name) for name, entry in header["tensors"].items()}
    sha256 = mapping[-_DIGEST_BYTES:].hex()
    which = (status.st_dev, status.st_ino)
    return MappedWeights(path, tensors, header["about"], sha256, length, which, mapping)


def _read_header(file: IO[bytes], path: Path) -> tuple[dict[str, Any], int]:
    """The header, and where the tensors begin."""
    broken = StateError(f"{path} is no file of weights, or is damaged; delete it, and it is made anew")
    prefix = file.read(_PREFIX.size)
    if len(prefix) < _PREFIX.size:
        raise broken
    magic, length = _PREFIX.unpack(prefix)
    if magic != _MAGIC or length > _MOST_HEADER:
        raise broken
    try:
        header = json.loads(file.read(length))
        _ = header["tensors"], header["about"], int(header["num_bytes"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise broken from error
    return header, _aligned(_PREFIX.size + length)


def _tensor(mapping: mmap.mmap, start: int, entry: Any, path: Path, name: str) -> torch.Tensor:
    try:
        dtype, shape = _DTYPES[entry["dtype"]], [int(size) for size in entry["shape"]]
        count = 1
        for size in shape:
            count *= size
        if not count:
            return torch.zeros(shape, dtype=dtype)
        flat = torch.frombuffer(mapping, dtype=dtype, count=count, offset=start + int(entry["offset"]))
        return flat.view(shape)
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise StateError(
            f"{path}: {name} cannot be mapped: {error}; delete it, and it is made anew"
        ) from error


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT
