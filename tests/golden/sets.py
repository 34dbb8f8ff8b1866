"""Runs as earlier code wrote them: the sets that are kept, and how an archive is packed and unpacked."""

from __future__ import annotations

import json
import os
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["ARCHIVES", "KINDS", "NEWEST", "SETS", "Archive", "GoldenSet"]

KINDS = ("closed-form", "gradient", "language", "translation")

_LEFT_OUT = ("report.html", ".lock", "journal.sqlite-shm", "journal.sqlite-wal")
"""Five megabytes of plotly, written again from what the run holds; what a process leaves that closes one."""


@dataclass(frozen=True, slots=True)
class GoldenSet:
    """One run of each kind, by the same code.

    Attributes:
        number: Names its folder.
        place: Where models and streams stand. A run knows both by absolute paths, which its chain of hashes
            covers, so the same paths are needed on every machine to go on in a stream where the run stopped.
        commit: The code that wrote it, on Linux, with ``OMP_NUM_THREADS=1``.
        formats: What that code wrote.
    """

    number: int
    place: Path
    commit: str
    formats: str

    @property
    def folder(self) -> Path:
        """Where its archives lie."""
        return Path(__file__).parent / "archives" / str(self.number)

    @property
    def continued(self) -> Path:
        """What its runs learned when code of a later day, that of set 2 at the earliest, let them go on."""
        return self.folder / "continued.json"


SETS = (
    GoldenSet(1, Path("/tmp/everlearn-golden-1"), "5e53dd9", "run 2, journal 2, checkpoint 1"),
    GoldenSet(2, Path("/tmp/everlearn-golden-2"), "345af3e", "run 2, journal 3, checkpoint 1"),
    GoldenSet(
        3,
        Path("/tmp/everlearn-golden-3"),
        "c7d51fe",
        "run 2, journal 3, checkpoint 1 with rows",
    ),
    GoldenSet(
        4,
        Path("/tmp/everlearn-golden-4"),
        "bb75ea1",
        "run 2, journal 3, checkpoint 2, with class means",
    ),
    GoldenSet(
        5,
        Path("/tmp/everlearn-golden-5"),
        "058e456",
        "run 2, journal 3, checkpoint 2, with word ridge",
    ),
    GoldenSet(
        6,
        Path("/tmp/everlearn-golden-6"),
        "4d01bc6",
        "run 2, journal 4, checkpoint 2",
    ),
)
NEWEST = SETS[-1]


@dataclass(frozen=True, slots=True)
class Archive:
    """The run of one kind in a set."""

    set: GoldenSet
    kind: str

    @property
    def place(self) -> Path:
        """Where the run's model and streams stand."""
        return self.set.place / self.kind

    @property
    def path(self) -> Path:
        """The archive's file."""
        return self.set.folder / f"{self.kind}.tar.xz"

    def stream(self, name: str) -> Path:
        """``stream``, ``probe``, ``late`` or ``more``."""
        has_codes = self.kind == "closed-form" and name != "late"
        return self.place / f"{name}.{'codes.parquet' if has_codes else 'jsonl'}"

    def pack(self) -> None:
        """Put everything that lies in its place into the archive."""
        self.path.parent.mkdir(parents=True, exist_ok=True)

        def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            return entry

        for name in _LEFT_OUT:
            (self.place / "run" / name).unlink(missing_ok=True)
        with tarfile.open(self.path, "w:xz", preset=9) as archive:
            for entry in sorted(self.place.iterdir()):
                archive.add(entry, entry.name, filter=plain)

    def unpack(self, folder: Path) -> tuple[Path, dict[str, Any]]:
        """Copy the run into a folder, its model and streams to their place; returns it and what it showed."""
        with tarfile.open(self.path) as archive:
            archive.extractall(folder, filter="data")
        _put_in_place(folder, self.place)
        expected: dict[str, Any] = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
        return folder / "run", expected

    def __str__(self) -> str:
        return f"{self.set.number}-{self.kind}"


ARCHIVES = tuple(Archive(golden_set, kind) for golden_set in SETS for kind in KINDS)


def _put_in_place(folder: Path, place: Path) -> None:
    """Several processes may do so at once: every file appears whole, and one that is right stays."""
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_dir() or relative.parts[0] in ("run", "expected.json"):
            continue
        target = place / relative
        if target.is_file() and target.read_bytes() == path.read_bytes():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as copy:
            copy.write(path.read_bytes())
        os.replace(copy.name, target)
