"""Versions of what differs between tasks (heads, adapters), published so that readers never wait.

A version is a file of weights, named by its SHA-256. What is current under a name is a second directory entry
(a hard link) of that file, which takes the place of the former one in one step:

    blobs/3f…a1      current/support  →  the same file

Large tensors are parts: files of their own, which a version names. One that the version before had, too, is
not written again, so publishing costs what has changed; and who reads may verify those that are new before
their version takes its place.

So a reader opens what is current, whole, old or new, without asking anybody. When another version takes the
place, the old one loses its names: those who have it mapped go on with it, and the system frees it with the
last of them, also when that was killed. One process publishes; any number reads.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch

from everlearn.errors import ConfigError, StateError
from everlearn.journal.durable_files import make_folder, storage_errors
from everlearn.sharing.weight_file import MappedWeights, map_weights, write_weights
from everlearn.types import Json

__all__ = ["OnNewParts", "Publication", "Publisher"]

OnNewParts = Callable[[Mapping[str, int]], None]
"""Is told the SHA-256s of parts that no version before had, and their bytes."""

_BLOBS = "blobs"
_CURRENT = "current"
_TEMPORARY = ".new-"
_PART_BYTES = 2 << 20
"""From here on a tensor is a part: a mapping with a descriptor of its own, so small heads have none."""
_PART = "tensor"
_TRIES = 100
"""Of a reader, each beside another version that took the place of the former."""
_REMEDY = "What was published before is still served; make room, and publish again."


class Publisher:
    """Publishes versions in a folder. One process at a time may; whose business that is, its owner knows.

    What a crash left behind is removed. What is published must not be written to as long as the publisher is
    there: a tensor that lies where one lay before is taken for the same.

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
        self._parts = {name: self._parts_of(self._current / name) for name in self.published()}
        self._written: dict[tuple[object, ...], tuple[torch.Tensor, str]] = {}
        with storage_errors(folder):
            self._clean(path.name for path in self._blobs.iterdir())

    def publish(
        self,
        name: str,
        tensors: Mapping[str, torch.Tensor],
        about: Mapping[str, Json],
        on_new_parts: OnNewParts = lambda _: None,
    ) -> str:
        """Let a version be what is current under a name.

        Args:
            name: Without separators of paths.
            tensors: By name.
            about: What to write with them.
            on_new_parts: Is called while the version before is still current.

        Returns:
            The version's SHA-256 (hex).

        Raises:
            ConfigError: The name is none.
            StorageError: It cannot be written; the version before stays.
        """
        check_name(name)
        token = f"{_TEMPORARY}{secrets.token_hex(8)}"
        link, current = self._current / token, self._current / name
        with storage_errors(self._blobs, _REMEDY):
            before = {*self._parts.get(name, ()), *(sha256 for _, sha256 in self._written.values())}
            before |= self._blob_of(current)
            written: dict[tuple[object, ...], tuple[torch.Tensor, str]] = {}
            try:
                small, parts = dict[str, torch.Tensor](), dict[str, str]()
                for key, tensor in tensors.items():
                    if tensor.nbytes < _PART_BYTES:
                        small[key] = tensor
                    else:
                        parts[key] = self._part(tensor, written)
                sha256 = self._blob(small, {"about": dict(about), "parts": parts})
                new = {parts[key]: tensors[key].nbytes for key in parts if parts[key] not in before}
                if new:
                    on_new_parts(new)
                os.link(self._blobs / sha256, link)
                os.replace(link, current)
            finally:
                with suppress(OSError):
                    link.unlink(missing_ok=True)  # two names of one file are left as they are
            self._parts[name], self._written = frozenset(parts.values()), written
            self._clean(before - {sha256})
        return sha256

    def withdraw(self, name: str, *, keep_parts: bool = False) -> bool:
        """Let nothing be current under a name; False: nothing was.

        Args:
            name: The name.
            keep_parts: Leave its parts where they are: the next version will have most of them.
        """
        check_name(name)
        current = self._current / name
        with storage_errors(self._current):
            before = self._blob_of(current)
            try:
                current.unlink()
            except FileNotFoundError:
                return False
            finally:
                if not keep_parts:
                    before |= self._parts.pop(name, frozenset())
                    before |= {sha256 for _, sha256 in self._written.values()}
                    self._written = {}
                self._clean(before)
        return True

    def published(self) -> list[str]:
        """The names under which something is current, sorted."""
        return sorted(path.name for path in self._current.iterdir())

    def _part(self, tensor: torch.Tensor, written: dict[tuple[object, ...], tuple[torch.Tensor, str]]) -> str:
        """The file that holds a large tensor; is written if the version before had none such."""
        key = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
        known = self._written.get(key)
        if known is None or not (self._blobs / known[1]).exists():
            known = tensor, self._blob({_PART: tensor}, {})
        written[key] = known
        return known[1]

    def _blob(self, tensors: Mapping[str, torch.Tensor], about: Mapping[str, Json]) -> str:
        """Write a file under its SHA-256, if it is not there."""
        blob = self._blobs / f"{_TEMPORARY}{secrets.token_hex(8)}"
        try:
            with blob.open("xb") as file:
                sha256 = write_weights(file, tensors, about)
            final = self._blobs / sha256
            if not _is_whole(final):  # else it is of a version before, perhaps under another name
                os.replace(blob, final)
        finally:
            with suppress(OSError):
                blob.unlink(missing_ok=True)
        return sha256

    def _blob_of(self, current: Path) -> set[str]:
        try:
            return {map_weights(current).sha256}
        except (FileNotFoundError, StateError):
            return set()  # none, or a damaged one, which goes when the folder is opened next

    def _parts_of(self, current: Path) -> frozenset[str]:
        try:
            return frozenset(map_weights(current).about.get("parts", {}).values())
        except (FileNotFoundError, StateError):
            return frozenset()

    def _clean(self, names: Iterable[str]) -> None:
        """Remove those files that belong to nothing that is current."""
        used = {sha256 for parts in self._parts.values() for sha256 in parts}
        used |= {sha256 for _, sha256 in self._written.values()}
        for name in names:
            blob = self._blobs / name
            with suppress(FileNotFoundError):
                if name not in used and blob.stat().st_nlink < 2:
                    blob.unlink()


class Publication:
    """What is current under a name, to a reader.

    Args:
        folder: A publisher's.
        name: The name.
    """

    def __init__(self, folder: Path, name: str) -> None:
        check_name(name)
        self._blobs, self._path = folder / _BLOBS, folder / _CURRENT / name
        self._known: tuple[tuple[int, int], MappedWeights] | None = None
        self._parts: dict[str, MappedWeights] = {}
        self._verified: dict[str, MappedWeights] = {}

    def exists(self) -> bool:
        """Whether there is a current version."""
        return self._path.exists()

    def now(self) -> MappedWeights | None:
        """The current version, verified; the same object as long as it is current. None: there is none.

        Raises:
            StateError: It is damaged.
        """
        for _ in range(_TRIES):
            try:
                status = os.stat(self._path)
                known = self._known
                # While it is mapped here, no other file can have its number.
                if known is not None and known[0] == (status.st_dev, status.st_ino):
                    return known[1]
                mapped = map_weights(self._path)
            except FileNotFoundError:
                self._known = None  # the next one will have most of its parts, so they stay
                return None
            if not mapped.verify():
                raise StateError(f"{self._path} is damaged; publish it again")
            whole = self._with_parts(mapped)
            if whole is not None:
                self._known = (mapped.device_and_inode, whole)
                return whole
        raise StateError(f"{self._path} lacks parts; publish it again")

    def verify_parts(self, parts: Iterable[str]) -> None:
        """Map and verify parts (SHA-256) of the version that comes next, which is then taken up the faster.

        Raises:
            StateError: One is damaged.
        """
        known = self._parts | self._verified
        self._verified = {}
        for sha256 in parts:
            with suppress(FileNotFoundError):  # its version did not come to be
                self._verified[sha256] = known.get(sha256) or self._part(sha256)

    def _with_parts(self, mapped: MappedWeights) -> MappedWeights | None:
        """A version with all its tensors; None: another has just taken its place, and its parts are gone."""
        try:
            parts, about = mapped.about["parts"], mapped.about["about"]
            files = dict[str, MappedWeights]()
            for sha256 in parts.values():
                if sha256 not in files:
                    known = self._parts.get(sha256) or self._verified.get(sha256)
                    files[sha256] = known or self._part(sha256)
            tensors = mapped.tensors | {name: files[sha256].tensors[_PART] for name, sha256 in parts.items()}
        except FileNotFoundError:
            return None
        except (KeyError, TypeError, AttributeError) as error:
            raise StateError(f"{self._path} is no published version; publish it again") from error
        self._parts, self._verified = files, {}
        num_bytes = mapped.num_bytes + sum(part.num_bytes for part in files.values())
        return replace(mapped, tensors=tensors, about=about, num_bytes=num_bytes)

    def _part(self, sha256: str) -> MappedWeights:
        part = map_weights(self._blobs / sha256)
        if part.sha256 != sha256 or not part.verify():
            raise StateError(f"{part.path} is damaged; publish it again")
        return part


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
