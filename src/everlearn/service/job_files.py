"""Files that are learned as jobs, on the disk: the upload, and a record of how far it has come.

``service/jobs/<id>.ndjson`` is the upload, and goes when it is dealt with; ``<id>.json`` is the record.
What is still coming in is ``.<id>.part``; a crash leaves nothing else behind that counts.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Literal

__all__ = [
    "JobRecord",
    "Lines",
    "Upload",
    "num_bytes",
    "read_lines",
    "read_records",
    "remove_file",
    "write_record",
]

State = Literal["waiting", "running", "done", "failed", "stopped"]

_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """A file that is learned, and how far it has come.

    Attributes:
        id: Its id.
        tenant: Who learns it.
        by: Whose key it was.
        time: When it was uploaded, in seconds since 1970.
        lines: Lines of the file.
        state: What it is doing.
        taken: Lines that were dealt with.
        position: Bytes of the file before the first line that was not.
        statuses: Examples by what became of them.
        num_rejected: Lines that gave no example.
        rejected: Numbers of the first of them, why, and the id of the example that is known under theirs.
        first_offset: Where the first example is in the journal that came with it; None: none did.
        last_offset: Where the last one is.
        error: Why it has failed.
    """

    id: str
    tenant: str
    by: str
    time: float
    lines: int
    state: State = "waiting"
    taken: int = 0
    position: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    num_rejected: int = 0
    rejected: tuple[tuple[int, str, str | None], ...] = ()
    first_offset: int | None = None
    last_offset: int | None = None
    error: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes of it."""
        return self.state in ("done", "failed", "stopped")

    def told(self) -> dict[str, Any]:
        """As a user is told of it."""
        values = asdict(self)
        del values["position"]
        return values | {
            "learned": self.statuses.get("learned", 0),
            "known": self.statuses.get("known", 0),
            "rejected": [{"line": line, "reason": reason, "id": id_} for line, reason, id_ in self.rejected],
        }


class Upload:
    """A file that comes in piece by piece: it is there as a whole, or not at all.

    Args:
        folder: Of the jobs; is made where there is none.
        id_: The job's.

    Raises:
        OSError: (any method) It cannot be written.

    Attributes:
        lines: Lines so far, one without an end included.
    """

    def __init__(self, folder: Path, id_: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{id_}.ndjson"
        self._part = folder / f".{id_}.part"
        self._file: IO[bytes] = self._part.open("wb")
        self._ends_within_line = False
        self._num_ends = 0

    @property
    def lines(self) -> int:
        """See the class."""
        return self._num_ends + self._ends_within_line

    def write(self, chunk: bytes) -> None:
        """Take a piece in."""
        if chunk:
            self._file.write(chunk)
            self._num_ends += chunk.count(b"\n")
            self._ends_within_line = not chunk.endswith(b"\n")

    def finish(self) -> None:
        """It is all there: bring it to the disk, and give it its name."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._part, self._path)

    def discard(self) -> None:
        """Leave nothing of it."""
        with suppress(OSError):  # what could not be written cannot be flushed either
            self._file.close()
        for path in (self._part, self._path):
            path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Lines:
    """Some lines of a file.

    Attributes:
        texts: Numbers of those that are not blank, from 1, and their bytes without ends; None: too long.
        last: Number of the last one; blank ones count.
        position: Bytes of the file up to its end.
    """

    texts: list[tuple[int, bytes | None]]
    last: int
    position: int


def read_lines(folder: Path, record: JobRecord, *, most: int, most_bytes: int, longest: int) -> Lines:
    """The next lines of a job's file.

    Args:
        folder: Of the jobs.
        record: The job's.
        most: How many lines that are not blank, at most.
        most_bytes: How many bytes, if there is more than one line.
        longest: Bytes of the longest line that is taken.
    """
    texts: list[tuple[int, bytes | None]] = []
    number, position = record.taken, record.position
    with (folder / f"{record.id}.ndjson").open("rb") as file:
        file.seek(record.position)
        while len(texts) < most and position - record.position < most_bytes:
            line = file.readline(longest + 1)
            if not line:
                break
            number, position = number + 1, position + len(line)
            is_whole = line.endswith(b"\n") or len(line) <= longest
            if not is_whole:
                texts.append((number, None))
            elif text := line.strip():
                texts.append((number, text))
            while not is_whole:
                rest = file.readline(longest)
                position += len(rest)
                is_whole = rest.endswith(b"\n") or not rest
    return Lines(texts, number, position)


def write_record(folder: Path, record: JobRecord) -> None:
    """Keep how far a job has come. Raises OSError where it cannot be written."""
    path = folder / f"{record.id}.json"
    temporary = folder / f".{record.id}.new"
    try:
        with temporary.open("w", encoding="utf-8") as file:
            json.dump({"format": _FORMAT, **asdict(record)}, file, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def read_records(folder: Path) -> tuple[list[JobRecord], list[str]]:
    """All jobs, oldest first, and what is wrong with records that cannot be read.

    What a crash has left over of uploads is removed.
    """
    found: list[JobRecord] = []
    problems: list[str] = []
    for path in folder.glob("*.json"):
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if values.pop("format") != _FORMAT:
                raise ValueError("it is of another format")
            # Records of before there were ids have none.
            rejected = tuple(
                (line, reason, *more, None)[:3] for line, reason, *more in values.pop("rejected")
            )
            record = JobRecord(**values, rejected=rejected)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            problems.append(f"{path} cannot be read: {error}; its file is not learned any further")
            continue
        if not record.is_over and not (folder / f"{record.id}.ndjson").is_file():
            record = replace(record, state="failed", error="its file is missing")
        found.append(record)
    known = {record.id for record in found if not record.is_over}
    unread = {path.stem for path in folder.glob("*.json")} - {record.id for record in found}
    for path in [*folder.glob(".*.part"), *folder.glob(".*.new"), *folder.glob("*.ndjson")]:
        if path.stem not in known | unread:
            path.unlink(missing_ok=True)
    return sorted(found, key=lambda record: record.time), problems


def num_bytes(folder: Path, record: JobRecord) -> int:
    """Of a job's file; 0 where it has gone."""
    try:
        return (folder / f"{record.id}.ndjson").stat().st_size
    except FileNotFoundError:
        return 0


def remove_file(folder: Path, id_: str, *, with_record: bool = False) -> None:
    """Remove a job's upload, and its record, if that is said. Raises OSError where it cannot be."""
    (folder / f"{id_}.ndjson").unlink(missing_ok=True)
    if with_record:
        (folder / f"{id_}.json").unlink(missing_ok=True)
