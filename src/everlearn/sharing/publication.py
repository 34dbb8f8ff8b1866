"""Versions of what differs between tasks (heads, adapters), published so that readers never wait.

A version is a file of weights, named by its SHA-256. What is current under a name is a second directory entry
(a hard link) of that file, which takes the place of the former one in one step:

    blobs/3f…a1      current/support  →  the same file

So a reader opens what is current, whole, old or new, without asking anybody. When another version takes the
place, the old one loses its names: those who have it mapped go on with it, and the system frees it with the
last of them, also when that was killed. One process publishes; any number reads.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch

from everlearn.errors import ConfigError, StateError
from everlearn.journal.durable_files import make_folder, storage_errors
from everlearn.sharing.weight_file import MappedWeights, map_weights, write_weights
from everlearn.types import Json

__all__ = ["Publication", "Publisher"]

_BLOBS = "blobs"
_CURRENT = "current"
_TEMPORARY = ".new-"
_REMEDY = "What was published before is still served; make room, and publish again."


class Publisher:
    """Publishes versions in a folder. One process at a time may; whose business that is, its owner knows.

    What a crash left behind is removed.

    Args:
        folder: Is made if it is not there.

    Raises:
        StorageError: It cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self._blobs, self._current = folder / _BLOBS, folder / _CURRENT
        with storage_errors(folder):
            make_folder(self._blobs)
            make_folder(self._current)
            for path in self._current.iterdir():
                if path.name.startswith(_TEMPORARY):
                    path.unlink()
            for path in self._blobs.iterdir():
                self._remove_unnamed(path)

    def publish(self, name: str, tensors: Mapping[str, torch.Tensor], about: Mapping[str, Json]) -> str:
        """Let a version be what is current under a name.

        Args:
            name: Without separators of paths.
            tensors: By name.
            about: What to write with them.

        Returns:
            The version's SHA-256 (hex).

        Raises:
            ConfigError: The name is none.
            StorageError: It cannot be written; the version before stays.
        """
        check_name(name)
        token = f"{_TEMPORARY}{secrets.token_hex(8)}"
        blob, link, current = self._blobs / token, self._current / token, self._current / name
        with storage_errors(self._blobs, _REMEDY):
            try:
                with blob.open("xb") as file:
                    sha256 = write_weights(file, tensors, about)
                final = self._blobs / sha256
                if _is_whole(final):  # the same content is current already, perhaps under another name
                    blob.unlink()
                else:
                    os.replace(blob, final)
                os.link(final, link)
                before = self._blob_of(current)
                os.replace(link, current)
                link.unlink(missing_ok=True)  # two names of one file are left as they are
            except BaseException:
                for path in (blob, link):
                    with suppress(OSError):
                        path.unlink(missing_ok=True)
                raise
            if before is not None and before != final:
                self._remove_unnamed(before)
        return sha256

    def withdraw(self, name: str) -> bool:
        """Let nothing be current under a name; False: nothing was."""
        check_name(name)
        current = self._current / name
        before = self._blob_of(current)
        with storage_errors(self._current):
            try:
                current.unlink()
            except FileNotFoundError:
                return False
            if before is not None:
                self._remove_unnamed(before)
        return True

    def published(self) -> list[str]:
        """The names under which something is current, sorted."""
        return sorted(path.name for path in self._current.iterdir())

    def _blob_of(self, current: Path) -> Path | None:
        try:
            return self._blobs / map_weights(current).sha256
        except (FileNotFoundError, StateError):
            return None  # none, or a damaged one, which goes when the folder is opened next

    def _remove_unnamed(self, blob: Path) -> None:
        """Remove a version that is current under no name."""
        with suppress(FileNotFoundError):
            if blob.stat().st_nlink < 2:
                blob.unlink()


class Publication:
    """What is current under a name, to a reader.

    Args:
        folder: A publisher's.
        name: The name.
    """

    def __init__(self, folder: Path, name: str) -> None:
        check_name(name)
        self._path = folder / _CURRENT / name
        self._known: tuple[tuple[int, int], MappedWeights] | None = None

    def exists(self) -> bool:
        """Whether there is a current version."""
        return self._path.exists()

    def now(self) -> MappedWeights | None:
        """The current version, verified; the same object as long as it is current. None: there is none.

        Raises:
            StateError: It is damaged.
        """
        try:
            status = os.stat(self._path)
            known = self._known
            # While it is mapped here, no other file can have its number.
            if known is not None and known[0] == (status.st_dev, status.st_ino):
                return known[1]
            mapped = map_weights(self._path)
        except FileNotFoundError:
            self._known = None
            return None
        if not mapped.verify():
            raise StateError(f"{self._path} is damaged; publish it again")
        self._known = (mapped.device_and_inode, mapped)
        return mapped


def _is_whole(path: Path) -> bool:
    try:
        return map_weights(path).verify()
    except (FileNotFoundError, StateError):
        return False


def check_name(name: str) -> None:
    """Refuse what is no name of one file that can be read on a line. Raises ConfigError."""
    is_name = (
        isinstance(name, str)
        and bool(name.strip())
        and name.isprintable()
        and not name.startswith(".")
        and not any(mark in name for mark in "/\\")
        and len(name.encode("utf-8", "replace")) <= 200
    )
    if not is_name:
        raise ConfigError(
            f"{name!r} is no name: give 1 to 200 bytes of printable text without slashes, not beginning with "
            "a dot"
        )
