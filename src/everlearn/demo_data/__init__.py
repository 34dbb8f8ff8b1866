"""A small stream of labelled messages that ships with the package, to try everything at once."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from everlearn.errors import InputError

__all__ = ["support_desk_stream", "support_desk_test"]


def support_desk_stream() -> Path:
    """Returns the JSON Lines file with the support desk's messages of twelve weeks, in order of time.

    About one label in twenty is wrong, as filed by a hurried agent. README.md beside the file explains
    the fields.

    Returns:
        Path of the file inside the installed package. It is read-only data: copy it before you change it.

    Raises:
        InputError: the file is missing: the installation is incomplete or lies in an archive.
    """
    return _installed_file("support_desk", "stream.jsonl")


def support_desk_test() -> Path:
    """Returns the JSON Lines file with the held-out messages of the same desk; their labels are all right.

    Returns:
        Path of the file inside the installed package. It is read-only data: copy it before you change it.

    Raises:
        InputError: the file is missing: the installation is incomplete or lies in an archive.
    """
    return _installed_file("support_desk", "test.jsonl")


def _installed_file(folder: str, name: str) -> Path:
    path = Path(str(files(__name__).joinpath(folder, name)))
    if not path.is_file():
        raise InputError(
            f"{path}: this file of the demo data is missing. "
            "Reinstall everlearn as an unpacked package, not inside an archive."
        )
    return path
