"""What a source of examples is, how its fields are named, and what it says of records it cannot use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, get_args, runtime_checkable

from everlearn.errors import ConfigError, InputError
from everlearn.types import Cursor, Example

__all__ = [
    "ChangedSourceError",
    "DocumentConfig",
    "EndOfStream",
    "FieldNames",
    "Rejection",
    "RejectionKind",
    "Source",
    "SourceConfig",
    "SourceReader",
]

DocumentSplit = Literal["blank-lines", "file", "lines"]
RejectionKind = Literal["unusable", "duplicate", "deleted"]

# Room for a few characters of four bytes.
_MIN_PIECE_BYTES = 16


class EndOfStream(Exception):
    """The stream is over: every example has been returned, and no more will come."""


class ChangedSourceError(InputError):
    """What lies before a cursor is not what was there when the cursor was made."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A record that gave no example.

    Attributes:
        place: Where it stands: ``train.jsonl.gz:17``, lines (or rows) counted from 1.
        reason: What is wrong with it.
        excerpt: How it begins, at most 200 characters.
        id: The id that it repeats, where that is the reason.
        kind: Whether it cannot be used, or is not wanted: its id was taken before (``duplicate``) or deleted.
    """

    place: str
    reason: str
    excerpt: str
    id: str | None = None
    kind: RejectionKind = "unusable"


@dataclass(frozen=True, kw_only=True)
class FieldNames:
    """Which field of a record holds what.

    A name of None stands for the usual names, of which the first that a record has is taken:
    ``target``, ``label``, ``intent``, ``category`` for the target; ``id``; ``domain``; ``time``,
    ``date``, ``timestamp`` for the time.

    With ``text_optional`` a record that lacks the text but has an id and a target gives an example
    without text: a target for an example that came before. With ``lenient_target`` a value that is no target,
    a list say, counts as none: nobody will look at it. ``target_is_label`` is off where targets are texts,
    which stay as they are written. With ``several_labels`` a target may be a list of labels, and is a string
    as ``everlearn.label_set`` writes it; a single label stays as it is.

    ``text_joined`` are further fields of text, which are joined to the first by line ends. A name with dots,
    as ``data.text``, reaches into objects.

    ``text_alternatives`` are names under which the text is looked for, in this order, where a record
    has no field ``text``. ``messages`` names a field with a chat, a list of objects with ``role`` and
    ``content``, which stands in for a missing text; None: chats are not read.

    Raises:
        ConfigError: A name is empty, or two fields share one name.
    """

    text: str = "text"
    target: str | None = None
    id: str | None = None
    domain: str | None = None
    time: str | None = None
    text_optional: bool = False
    text_joined: tuple[str, ...] = ()
    text_alternatives: tuple[str, ...] = ()
    messages: str | None = None
    lenient_target: bool = False
    target_is_label: bool = True
    several_labels: bool = False

    @property
    def text_names(self) -> tuple[str, ...]:
        """Names of the text, in the order in which they are looked for."""
        return (self.text, *self.text_alternatives)

    def __post_init__(self) -> None:
        seen: dict[str, str] = {}
        names = [
            (role, getattr(self, role)) for role in ("text", "target", "id", "domain", "time", "messages")
        ]
        names += [("text_alternatives", name) for name in self.text_alternatives]
        names += [("text_joined", name) for name in self.text_joined]
        for role, name in names:
            if name is None and role not in ("text", "text_alternatives", "text_joined"):
                continue
            if not isinstance(name, str) or not name:
                raise ConfigError(f"fields.{role} must be the name of a field, not {name!r}")
            if name in seen:
                raise ConfigError(f"fields.{role} is {name!r}, which fields.{seen[name]} already uses")
            seen[name] = role


@dataclass(frozen=True, kw_only=True)
class DocumentConfig:
    """How texts become documents, and long documents pieces, for language models.

    A document of more than ``max_piece_bytes`` is cut, at a line end or before a space where there is
    one and never inside a character. Each piece is an example whose fields ``document``, ``part`` (from
    0) and ``last`` say where it belongs; the texts of a document's pieces, joined, are the document.

    Attributes:
        split: What is a document in a text file or in plain text on standard input: "blank-lines": lines
            between blank ones; "lines": each line; "file": all of it.
        max_piece_bytes: The longest piece, in bytes of UTF-8.
        max_record_bytes: Records (lines of JSON, rows of tables) that are longer are rejected. Text
            files have no such limit.

    Raises:
        ConfigError: Names the field and the value.
    """

    split: DocumentSplit = "blank-lines"
    max_piece_bytes: int = 16_384
    max_record_bytes: int = 64_000_000

    def __post_init__(self) -> None:
        if self.split not in get_args(DocumentSplit):
            known = ", ".join(get_args(DocumentSplit))
            raise ConfigError(f"documents.split must be one of {known}, not {self.split!r}")
        _check_size("documents.max_piece_bytes", self.max_piece_bytes, _MIN_PIECE_BYTES)
        _check_size("documents.max_record_bytes", self.max_record_bytes, 1)


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """How records become examples.

    Attributes:
        fields: Names of the fields.
        strict: Raise InputError at the first record that cannot be used, instead of passing it over.
        max_record_bytes: Longer records are rejected without being read into memory whole.
        encoding: Of text files, as Python names it; None: what the file's beginning shows, see ``encodings``.
        delimiter: Between the cells of CSV and TSV files; None: by the file's suffix and header.
        documents: Read texts as documents, cut long ones, and take chats; None: a record is an example.

    Raises:
        ConfigError: ``max_record_bytes`` is not a positive integer, the encoding is not known, or the
            delimiter is not one character.
    """

    fields: FieldNames = field(default_factory=FieldNames)
    strict: bool = False
    max_record_bytes: int = 1_000_000
    encoding: str | None = None
    delimiter: str | None = None
    documents: DocumentConfig | None = None

    def __post_init__(self) -> None:
        _check_size("max_record_bytes", self.max_record_bytes, 1)
        if self.encoding is not None:
            check_encoding(self.encoding)
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in '"\r\n\0'):
            raise ConfigError(
                f"delimiter must be one character, and no quote or line end, not {self.delimiter!r}"
            )


def check_encoding(name: str) -> None:
    """Make sure that an encoding is known and is one of text.

    Raises:
        ConfigError: It is not.
    """
    try:
        "".encode(name)
    except (LookupError, ValueError):
        raise ConfigError(
            f"encoding: {name!r} is not known; usual ones are utf-8, utf-16, cp1252, latin-1 and gb18030"
        ) from None


def _check_size(name: str, size: object, least: int) -> None:
    if isinstance(size, bool) or not isinstance(size, int) or size < least:
        what = "a positive integer" if least == 1 else f"an integer of at least {least}"
        raise ConfigError(f"{name} must be {what}, not {size!r}")


@runtime_checkable
class SourceReader(Protocol):
    """One pass over a source."""

    def next_batch(self, limit: int) -> Sequence[Example]:
        """At most ``limit`` next examples.

        An empty batch means that there is nothing yet, or that only unusable records came so far.

        Raises:
            EndOfStream: All examples were returned before.
            InputError: The source cannot be read any further, or a record is wrong and the source is
                strict. The examples before it were returned by earlier calls.
        """
        ...

    def cursor(self) -> Cursor:
        """Where to open the source again: after the last example returned."""
        ...

    def close(self) -> None:
        """Let go of files. The cursor stays readable."""
        ...

    def take_rejected(self) -> list[Rejection]:
        """The records passed over since the last call, each exactly once.

        Ask after every batch and once more after EndOfStream.
        """
        ...


@runtime_checkable
class Source(Protocol):
    """Where examples come from. It can be opened many times, and from a cursor."""

    @property
    def name(self) -> str:
        """A short name for messages: a file's name, a data set's name."""
        ...

    def open(self, cursor: Cursor | None = None) -> SourceReader:
        """Begin a pass, at the start or where a reader of the same source stood.

        Raises:
            InputError: The source cannot be opened, or the cursor is not one of this source.
        """
        ...

    def count(self) -> int | None:
        """How many records there are, where that is cheap to tell; for progress bars."""
        ...
