"""From what a user names to a source: by suffix, by content, by prefix."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

from everlearn.errors import InputError
from everlearn.stream.documents import DocumentsSource
from everlearn.stream.excerpt import excerpt_of
from everlearn.stream.files.codes import CodesSource, is_codes_file
from everlearn.stream.files.columnar import ArrowSource, ParquetSource
from everlearn.stream.files.delimited import DelimitedSource
from everlearn.stream.files.hf_datasets import HuggingFaceSource
from everlearn.stream.files.json_values import JsonValuesSource, holds_json_values
from everlearn.stream.files.line_files import JsonLinesSource, TextLinesSource
from everlearn.stream.lines import compression_of
from everlearn.stream.pieced import PiecedSource
from everlearn.stream.source import DocumentConfig, Source, SourceConfig
from everlearn.stream.standard_input import StandardInputSource

__all__ = ["is_pipe", "is_standard_input", "open_source"]

_HUGGING_FACE_PREFIX = "hf:"
_MESSAGES = "messages"


def _parquet(path: Path, config: SourceConfig) -> Source:
    return CodesSource(path, config) if is_codes_file(path) else ParquetSource(path, config)


def _json(path: Path, config: SourceConfig) -> Source:
    return (
        JsonValuesSource(path, config) if holds_json_values(path, config) else JsonLinesSource(path, config)
    )


def _tab_separated(path: Path, config: SourceConfig) -> Source:
    return DelimitedSource(path, config, delimiter="\t")


_COMPRESSIBLE: dict[str, Callable[[Path, SourceConfig], Source]] = {
    ".jsonl": _json,
    ".ndjson": _json,
    ".json": _json,
    ".csv": DelimitedSource,
    ".tsv": _tab_separated,
    ".txt": TextLinesSource,
}
_TABLES: dict[str, Callable[[Path, SourceConfig], Source]] = {
    ".parquet": _parquet,
    ".arrow": ArrowSource,
    ".feather": ArrowSource,
}


_OF_DATA_SETS = frozenset({*_COMPRESSIBLE, *_TABLES, ".gz", ".zst"})
_FILES_LOOKED_AT = 1_000
_FILES_NAMED = 5


def open_source(spec: str | os.PathLike[str], config: SourceConfig | None = None) -> Source:
    """The source that a user means.

    - ``-``: standard input;
    - ``hf:NAME`` or ``hf:NAME:SPLIT``, or a folder: a Hugging Face data set;
    - a named pipe, ``/dev/stdin``: read once, as standard input;
    - a file: by its suffix, JSON lines (``.jsonl``, ``.ndjson``, ``.json``; an array of objects, be it
      in an object, or objects over several lines, too), ``.csv``, ``.tsv``, ``.txt``
      (one text a line, or a line of fastText), each also with ``.gz`` or ``.zst``; ``.parquet``
      (a codes file is recognised); ``.arrow``, ``.feather``.

    With ``config.documents`` a ``.txt`` is read as documents, long texts of other formats are cut into
    pieces, and a record may hold a chat (``messages``) instead of a text.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "messages.jsonl")
    ...     _ = path.write_text('{"text": "my card is lost", "label": "lost_card"}\\n{"no": "text"}\\n')
    ...     reader = open_source(path).open()
    ...     for example in reader.next_batch(10):
    ...         print(example.id, example.text, example.target)
    ...     print(reader.take_rejected()[0].reason)
    ...     reader.close()
    messages:1 my card is lost lost_card
    no field 'text'; its fields are no (see --text-field)

    Args:
        spec: What the user names.
        config: How records become examples.

    Raises:
        InputError: There is no such file or data set, or its format is not known.
        MissingExtraError: A library is needed that is not installed.
    """
    config = config or SourceConfig()
    if config.documents is not None:
        return _open_documents(spec, config, config.documents)
    text = os.fspath(spec)
    if is_standard_input(text):
        return StandardInputSource(config)
    if is_pipe(text):
        return StandardInputSource(config, path=Path(text))
    if text.startswith(_HUGGING_FACE_PREFIX) and not _exists(Path(text)):
        name = text.removeprefix(_HUGGING_FACE_PREFIX)
        split = None
        if ":" in name and not _exists(Path(name)):
            name, split = name.rsplit(":", 1)
        if not name or split == "":
            raise InputError(f"{text!r} does not name a data set; write hf:NAME or hf:NAME:SPLIT")
        return HuggingFaceSource(name, config, split=split)
    path = Path(text)
    if not _exists(path):
        raise InputError(f"{excerpt_of(text)} does not exist")
    if path.is_dir():
        _check_holds_data(path)
        return HuggingFaceSource(text, config)
    suffix = path.suffix.lower()
    if suffix in _TABLES:
        return _TABLES[suffix](path, config)
    inner = Path(path.stem).suffix.lower() if compression_of(path) != "none" else suffix
    if inner not in _COMPRESSIBLE:
        known = ", ".join([*(f"{each}[.gz|.zst]" for each in _COMPRESSIBLE), *_TABLES])
        raise InputError(f"{text} has a suffix that names no known format; known are {known}")
    return _COMPRESSIBLE[inner](path, config)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # longer than a name may be, or with a character that none has
        return False


def _check_holds_data(folder: Path) -> None:
    """Refuse a folder that was named in place of a file in it, before a library is asked for."""
    some = islice(folder.rglob("*"), _FILES_LOOKED_AT)
    if not any(file.suffix.lower() in _OF_DATA_SETS for file in some):
        files = sorted(file.name for file in folder.iterdir() if file.is_file())
        there = f"; in it: {', '.join(files[:_FILES_NAMED])}" if files else ", and empty"
        raise InputError(f"{folder} is a folder and no data set; name a file in it{there}")


def is_standard_input(spec: str) -> bool:
    """Whether a name is one of standard input."""
    return spec in ("-", "/dev/stdin", "/dev/fd/0")


def is_pipe(spec: str) -> bool:
    """Whether a name is that of something that can be read once only: a named pipe, a terminal, a socket."""
    try:
        mode = os.stat(spec).st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISBLK(mode))


def _open_documents(spec: str | os.PathLike[str], config: SourceConfig, documents: DocumentConfig) -> Source:
    fields = config.fields
    if fields.messages is None:
        fields = replace(fields, messages=_MESSAGES)
    config = replace(config, fields=fields, max_record_bytes=documents.max_record_bytes)
    path = Path(spec)
    name = path.stem if compression_of(path) != "none" else path.name
    if is_standard_input(os.fspath(spec)):
        return StandardInputSource(config)
    if is_pipe(os.fspath(spec)):
        return StandardInputSource(config, path=path)
    if path.is_file() and Path(name).suffix.lower() == ".txt":
        return DocumentsSource(path, config)
    source = open_source(spec, replace(config, documents=None))
    return PiecedSource(source, documents, messages=fields.messages)
