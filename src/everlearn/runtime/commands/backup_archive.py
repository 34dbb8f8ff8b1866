"""The archive of a backup: a plain tar file whose last entry has the SHA-256 of all others.

```
everlearn-backup.json   what it is, and of which format
…                       files, by their paths in the run or hub
checksums.json          of each; without it the archive is cut off
```
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from everlearn.errors import RunError, StateError
from everlearn.journal.durable_files import fsync_folder, make_folder, storage_errors
from everlearn.types import Json
from everlearn.version import __version__

__all__ = ["ArchiveWriter", "unpack_archive", "writing_archive"]

_HEADER = "everlearn-backup.json"
_CHECKSUMS = "checksums.json"
_FORMAT = 1
_CHUNK_BYTES = 1 << 20


class ArchiveWriter:
    """Puts files into an archive. See :func:`writing_archive`."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._sums: dict[str, str] = {}

    @property
    def num_files(self) -> int:
        """Files so far, but for what the archive says of itself."""
        return len(self._sums.keys() - {_HEADER, _CHECKSUMS})

    def add(self, name: str, file: IO[bytes]) -> None:
        """Add an open file, whatever becomes of its name meanwhile.

        Args:
            name: Its path in the archive.
            file: Read from its beginning; it does not change.
        """
        status = os.fstat(file.fileno())
        entry = _entry(name, status.st_size, status.st_mtime)
        file.seek(0)
        reading = _Hashing(file)
        self._tar.addfile(entry, reading)
        self._sums[name] = reading.digest.hexdigest()

    def add_file(self, name: str, path: Path) -> None:
        """Add a file by its path. Raises FileNotFoundError where it is gone."""
        with path.open("rb") as file:
            self.add(name, file)

    def add_json(self, name: str, value: Json) -> None:
        """Add a value as a file of JSON."""
        data = json.dumps(value, ensure_ascii=False, indent=1).encode()
        self._tar.addfile(_entry(name, len(data), time.time()), io.BytesIO(data))
        self._sums[name] = hashlib.sha256(data).hexdigest()

    def finish(self, told: Mapping[str, Json]) -> None:
        """Add the checksums, with what else is to be told at the end."""
        self.add_json(_CHECKSUMS, {**told, "sha256": dict(self._sums)})


@contextmanager
def writing_archive(path: Path, kind: str) -> Iterator[ArchiveWriter]:
    """An archive that is there, whole, once the block has ended; where that fails nothing is.

    Args:
        path: Where; nobody else may read it, as it holds what was learned.
        kind: "run" or "hub".

    Raises:
        RunError: There is something of this name.
        StorageError: It cannot be written.
    """
    if path.exists():
        raise RunError(f"{path} exists; a backup overwrites nothing: choose another --out")
    temporary = path.with_name(f".{path.name}.tmp")
    with storage_errors(path, "Nothing was backed up."):
        make_folder(path.parent)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with open(descriptor, "wb") as file:
                with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                    writer = ArchiveWriter(tar)
                    writer.add_json(_HEADER, {"format": _FORMAT, "kind": kind, "everlearn": __version__})
                    yield writer
                file.flush()
                os.fsync(file.fileno())
            if path.exists():
                raise RunError(f"{path} has appeared meanwhile; choose another --out")
            os.replace(temporary, path)
            fsync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def unpack_archive(archive: Path, to: Path) -> dict[str, Json]:
    """Bring everything of an archive into a new folder, verified; where that fails there is none.

    Args:
        archive: The archive.
        to: The folder.

    Returns:
        What was told at the archive's end, and ``num_files``.

    Raises:
        RunError: There is something of this name, or no archive.
        StateError: The archive is cut off, or something in it was changed.
        StorageError: It cannot be written.
    """
    if to.exists() or to.is_symlink():
        raise RunError(f"{to} exists; a backup is restored into a new folder: choose another --out")
    if not archive.is_file():
        raise RunError(f"{archive} is not there, or no file")
    unpacked = to.with_name(f".{to.name}.restoring")
    with storage_errors(to, "Nothing was restored."):
        make_folder(to.parent)
        shutil.rmtree(unpacked, ignore_errors=True)
        unpacked.mkdir(mode=0o700)
        try:
            told = _unpacked(archive, unpacked)
            if to.exists():
                raise RunError(f"{to} has appeared meanwhile; choose another --out")
            unpacked.chmod(0o777 & ~_umask())
            unpacked.rename(to)
            fsync_folder(to.parent)
        except BaseException:
            shutil.rmtree(unpacked, ignore_errors=True)
            raise
    return told


def _unpacked(archive: Path, folder: Path) -> dict[str, Json]:
    sums: dict[str, str] = {}
    told: dict[str, Any] | None = None
    try:
        with tarfile.open(archive, mode="r:") as tar:
            for entry in tar:
                file = tar.extractfile(entry) if entry.isreg() else None
                if file is None or told is not None:
                    raise _damaged(archive, f"it holds {entry.name!r}, which is no file of a backup")
                if entry.name == _CHECKSUMS:
                    told = json.loads(file.read())
                elif entry.name == _HEADER and not sums:
                    data = file.read()
                    _check_header(archive, data)
                    sums[_HEADER] = hashlib.sha256(data).hexdigest()
                elif not sums:
                    raise RunError(f"{archive} is no backup that everlearn backup has made")
                else:
                    target = _target(archive, folder, entry.name)
                    sums[entry.name] = _written(file, target, entry.mode)
    except (tarfile.TarError, EOFError, ValueError) as error:
        if not sums:
            raise RunError(f"{archive} is no backup that everlearn backup has made: {error}") from error
        raise _damaged(archive, str(error)) from error
    if told is None:
        raise _damaged(archive, "its end is missing")
    if told.get("sha256") != sums:
        expected = dict(told.get("sha256") or {})
        wrong = [name for name in expected.keys() | sums.keys() if expected.get(name) != sums.get(name)]
        raise _damaged(archive, f"{sorted(wrong)[0]} does not match its SHA-256")
    return {**told, "num_files": len(sums) - 1}


def _check_header(archive: Path, data: bytes) -> None:
    header = json.loads(data)
    if header.get("format") != _FORMAT:
        raise RunError(
            f"{archive} is of format {header.get('format')}; this everlearn knows {_FORMAT}. Use the one "
            f"that made it ({header.get('everlearn')}), or a newer one."
        )


def _target(archive: Path, folder: Path, name: str) -> Path:
    """Where an entry goes: nowhere but below the folder."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
        raise _damaged(archive, f"it holds the path {name!r}")
    return folder.joinpath(*parts)


def _written(file: IO[bytes], target: Path, mode: int) -> str:
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode & 0o777), "wb") as copy:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            copy.write(chunk)
        copy.flush()
        os.fsync(copy.fileno())
    return digest.hexdigest()


def _damaged(archive: Path, what: str) -> StateError:
    return StateError(f"{archive} is cut off or damaged: {what}. Nothing was restored; use another backup.")


def _entry(name: str, size: int, modified: float) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime = size, int(modified)
    entry.mode = 0o600 if PurePosixPath(name).parent.name == "service" else 0o644
    return entry


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


class _Hashing:
    """A file whose bytes are hashed as they are read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Read on."""
        data = self._file.read(size)
        self.digest.update(data)
        return data
