"""A learner's state in a folder of its own, without a journal: saved whole or not at all, checked when read.

The folder holds ``everlearn.json``, which says what is saved and by which settings, and a file of tensors,
which it names, with its SHA-256. The tensors come first, under a name that no earlier save had, so a crash
leaves what was saved before. One process saves at a time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

from safetensors import SafetensorError

from everlearn.errors import InputError, StateError
from everlearn.journal.durable_files import make_folder, replacing, sha256_of, storage_errors, write_text
from everlearn.journal.state_files import read_state_file, write_state_file
from everlearn.types import Json, State
from everlearn.version import __version__

__all__ = ["read_state_folder", "write_state_folder"]

FORMAT_VERSION = 1
_MANIFEST = "everlearn.json"
_KEY = "everlearn.state"
_STATES = "state-*.safetensors"


def write_state_folder(folder: Path, kind: str, state: State, described: Mapping[str, Json]) -> None:
    """Save a state, in place of what the folder held before.

    Args:
        folder: Made if there is none.
        kind: What is saved, for people and for ``read_state_folder``.
        state: The state.
        described: All else that it takes to go on, as JSON.

    Raises:
        InputError: The folder holds something else.
        StorageError: It cannot be written; what was saved before is intact.
        ValueError: ``described`` is no JSON.
    """
    manifest = folder / _MANIFEST
    with storage_errors(folder, "What was saved there before is intact."):
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file; give a folder to save to")
        if folder.is_dir() and not manifest.exists() and any(map(_is_foreign, folder.iterdir())):
            raise InputError(f"{folder} holds other files; give a new or empty folder to save to")
        make_folder(folder)
        name = f"state-{uuid4().hex[:16]}.safetensors"
        with replacing(folder / name) as temporary:
            write_state_file(temporary, _KEY, state.data, state.tensors)
            digest = sha256_of(temporary)
        content = {
            "format_version": FORMAT_VERSION,
            "kind": kind,
            "everlearn": __version__,
            "file": name,
            "sha256": digest,
            **described,
        }
        # Escaped, so that a name with half a surrogate pair can be told, too.
        write_text(manifest, json.dumps(content, indent=1, allow_nan=False) + "\n")
        for earlier in folder.glob(_STATES):
            if earlier.name != name:
                earlier.unlink()


def read_state_folder(folder: Path, kind: str) -> tuple[State, dict[str, Json]]:
    """What ``write_state_folder`` saved: the state and its description.

    Raises:
        StateError: Nothing is saved there, or something of another kind, by a newer format, or it is damaged.
        OSError: It cannot be read.
    """
    manifest = folder / _MANIFEST
    if not manifest.is_file():
        raise StateError(f"nothing is saved in {folder}: it holds no {_MANIFEST}")
    try:
        described = json.loads(manifest.read_text(encoding="utf-8"))
        version, found = described["format_version"], described["kind"]
        name, digest = str(described["file"]), described["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise StateError(f"{manifest} is damaged: {error!r}; save again, or use a copy") from None
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise StateError(
            f"{manifest} is of the newer format version {version}; use the everlearn that wrote it"
        )
    if found != kind:
        raise StateError(f"{folder} holds a {found}, not a {kind}; load it with the class that saved it")
    path = folder / Path(name).name
    if not path.is_file():
        raise StateError(f"{path} is missing; save again, or use a copy")
    if sha256_of(path) != digest:
        raise StateError(f"{path} is damaged: it does not match its SHA-256; save again, or use a copy")
    try:
        data, tensors = read_state_file(path, _KEY)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise StateError(f"{path} cannot be read: {error}") from None
    return State(tensors, data), described


def _is_foreign(entry: Path) -> bool:
    """Whether a file is none that a save which did not come to its end leaves behind."""
    name = entry.name.removeprefix(".").removesuffix(".tmp")
    return name != _MANIFEST and not entry.with_name(name).match(_STATES)
