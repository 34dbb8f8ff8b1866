"""Writing files so that a crash at any point leaves the old file or the new one, never a torn one."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from everlearn.errors import StorageError
from everlearn.types import Json

__all__ = [
    "fsync_folder",
    "make_folder",
    "replacing",
    "sha256_of",
    "storage_errors",
    "write_json",
    "write_text",
]

_STORAGE_ERRNOS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
    | {errno.ENOTDIR, errno.ENAMETOOLONG}
)
_CHUNK_BYTES = 1 << 20


@contextmanager
def storage_errors(path: Path, remedy: str = "") -> Iterator[None]:
    """Turn what writing libraries raise on a full or forbidden disk into StorageError.

    Args:
        path: What is being written; the message names it.
        remedy: Further sentences of the message: what is safe, what to do.

    Raises:
        StorageError: On disk full, quota, file size limit, missing permission, read-only or
            failing disks. Other errors pass.
    """
    try:
        yield
    except (OSError, SafetensorError, sqlite3.OperationalError) as error:
        reason = _storage_reason(error)
        if reason is None:
            raise
        raise StorageError(f"cannot write {path}: {reason}. {remedy}".rstrip()) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name to write to; at the end fsync it and rename it to ``path``.

    On an error the temporary file is removed and ``path`` stays as it was.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        # Some libraries make files that nobody else may read; who may is for the process's umask to say.
        temporary.unlink(missing_ok=True)
        temporary.touch()
        mode = stat.S_IMODE(temporary.stat().st_mode)
        yield temporary
        if stat.S_IMODE(temporary.stat().st_mode) != mode:
            temporary.chmod(mode)
        _fsync(temporary)
        os.replace(temporary, path)
        fsync_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a whole UTF-8 file atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Json, *, indent: int | None = None) -> None:
    """Write one JSON value atomically, with a line end."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False) + "\n")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file as hexadecimal digits, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it that lack; none of them is lost with the power.

    Raises:
        FileExistsError: There is something else of that name.
    """
    missing = [above for above in (folder, *folder.parents) if not above.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in reversed(missing):
        fsync_folder(made.parent)


def fsync_folder(folder: Path) -> None:
    """Make renames and removals in a folder durable."""
    _fsync(folder)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _storage_reason(error: Exception) -> str | None:
    if isinstance(error, OSError):
        if error.errno in _STORAGE_ERRNOS:
            return os.strerror(error.errno or 0)
        # Arrow and safetensors report some failed writes by text alone.
        return _reason_in_text(str(error))
    if isinstance(error, sqlite3.OperationalError):
        if getattr(error, "sqlite_errorname", "") == "SQLITE_IOERR_SHMSIZE":
            return f"{os.strerror(errno.ENOSPC)} ({error})"
        codes = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)
        primary = (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF
        return str(error) if primary in codes or primary == sqlite3.SQLITE_IOERR else None
    return _reason_in_text(str(error))


def _reason_in_text(text: str) -> str | None:
    for number in _STORAGE_ERRNOS:
        if os.strerror(number).lower() in text.lower() or f"os error {number})" in text.lower():
            return os.strerror(number)
    return None
