"""How a text file is encoded, told by its beginning; and its bytes as UTF-8."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from everlearn.errors import InputError
from everlearn.types import Cursor

__all__ = [
    "HEAD_BYTES",
    "MARK_BYTES",
    "Decoding",
    "Recognised",
    "decoding_of",
    "encoding_before",
    "marked_encoding",
]

HEAD_BYTES = 1 << 18
"""How much of a file's beginning is looked at."""

MARK_BYTES = 4
"""Bytes that the longest mark takes."""
# The longer ones first: that of UTF-32 begins like that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, None),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_OTHER_FILES = (
    (b"PK\x03\x04", "a ZIP archive, such as an .xlsx workbook; save it as CSV (UTF-8)"),
    (b"\xd0\xcf\x11\xe0", "an old Office file, such as an .xls workbook; save it as CSV (UTF-8)"),
    (b"PAR1", "a Parquet file; give it the suffix .parquet"),
    (b"ARROW1", "an Arrow file; give it the suffix .arrow"),
    (b"\x1f\x8b", "compressed by gzip; give it the suffix .gz behind its own"),
    (b"\x28\xb5\x2f\xfd", "compressed by Zstandard; give it the suffix .zst behind its own"),
    (b"SQLite format 3", "an SQLite database; export a table of it as CSV"),
    (b"%PDF-", "a PDF document; save its text"),
)
_SINGLE_BYTE = (
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258"),
    *("cp874", "koi8_r", "cp437", "cp850", "cp852", "cp866", "mac_roman"),
)
_MULTI_BYTE = ("cp932", "euc_jp", "gb18030", "big5", "cp949")
_USUAL = "cp1252"
# What the library's figures must differ by to say something.
_CLEAR = 0.01
_SAMPLE_BYTES = 1 << 15
# Below this share, lines that are not UTF-8 are strays in a file that is.
_STRAYS = 0.05
_MAX_LINE_BYTES = 1 << 20
_LINES_SHOWN = 20
_CHARACTERS_SHOWN = 8

_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_UTF8_OF_THREE = re.compile(rb"[\xe0-\xf4][\x80-\xbf]{2}")
# These may stand between letters of a word, or of two.
_BETWEEN_LETTERS = "’‘“”«»–—…·\u00ad\u00a0"


@dataclass(frozen=True, slots=True)
class Recognised:
    """An encoding that nobody named.

    Attributes:
        name: As Python names it.
        line: The first line that shows it; 0 where it was found earlier.
        characters: Some letters beyond ASCII, read so and sorted. No text: notes outlive what is forgotten.
    """

    name: str
    line: int = 0
    characters: str = ""

    @property
    def is_multi_byte(self) -> bool:
        """Whether a character may take several bytes."""
        return self.name in _MULTI_BYTE


class Decoding:
    """Makes UTF-8 of a file's bytes, in which what does not fit the encoding is no UTF-8.

    Args:
        encoding: As Python names it; None: the bytes are UTF-8 already.
        recognised: It is one that nobody named, so a line that is UTF-8 does not fit it.
    """

    def __init__(self, encoding: str | None, recognised: Recognised | None = None) -> None:
        self.recognised = recognised
        self._decoder: codecs.IncrementalDecoder | None = None
        self._line = b""
        if encoding is None:
            return
        name = codecs.lookup(encoding).name
        if name not in ("utf-8", "utf-8-sig", "ascii"):
            # A byte that the encoding does not know comes out as it went in; of UTF-16 no single byte can.
            errors = "replace" if name.startswith(("utf-16", "utf-32")) else "surrogateescape"
            self._decoder = codecs.getincrementaldecoder(encoding)(errors)

    @property
    def is_plain(self) -> bool:
        """Whether bytes stay as they are."""
        return self._decoder is None

    def decode(self, chunk: bytes, *, final: bool) -> bytes:
        """The chunk in UTF-8; what is no whole line or character may come with the next."""
        if self._decoder is None:
            return chunk
        if self.recognised is not None:
            return b"".join(self._checked(self.recognised, chunk, final))
        return self._decoder.decode(chunk, final=final).encode("utf-8", "surrogateescape")

    def _checked(self, recognised: Recognised, chunk: bytes, final: bool) -> Iterator[bytes]:
        assert self._decoder is not None
        whole, line_end, rest = (self._line + chunk).rpartition(b"\n")
        self._line = rest
        lines = (whole + line_end).splitlines(keepends=True)
        if final or len(rest) > _MAX_LINE_BYTES:
            lines += rest.splitlines(keepends=True)
            self._line = b""
        for line in lines:
            if _is_utf8_text(line, recognised.is_multi_byte):
                yield b"\xff" + line  # whoever reads the line refuses it
            else:
                yield self._decoder.decode(line, final=final).encode("utf-8", "surrogateescape")


def encoding_before(cursor: Cursor | None) -> Recognised | None:
    """The encoding that was recognised when a cursor was made; None: none had to be."""
    name = None if cursor is None else cursor.get("encoding")
    return Recognised(name) if isinstance(name, str) and name in (*_SINGLE_BYTE, *_MULTI_BYTE) else None


def marked_encoding(head: bytes) -> str | None:
    """The encoding other than UTF-8 that a byte order mark at the beginning says; None: it says none.

    >>> marked_encoding("card".encode("utf-16"))
    'utf-16'
    """
    return next((encoding for mark, encoding in _MARKS if head.startswith(mark)), None)


def decoding_of(
    path: Path, head: bytes, *, is_whole: bool, encoding: str | None, resumes: bool, before: Recognised | None
) -> Decoding:
    """How to make UTF-8 of a file.

    Args:
        path: The file.
        head: How it begins, once unpacked.
        is_whole: Whether that is all of it.
        encoding: That somebody named; None: what the beginning says.
        resumes: Whether the file was read before, so that nothing is to be recognised.
        before: The encoding that was recognised then.

    Raises:
        InputError: It is no text, in two encodings, or in one that is not to be told.
    """
    if encoding is not None:
        return Decoding(encoding)
    if head.startswith(tuple(mark for mark, _ in _MARKS)):
        return Decoding(marked_encoding(head))
    if resumes:
        return Decoding(before.name if before else None, before)
    _refuse_zeros(path, head)
    if not is_whole:
        head = head[: head.rfind(b"\n") + 1] or head
    kind = next((what for start, what in _OTHER_FILES if head.startswith(start)), None)
    if kind is not None:
        raise InputError(f"{path} is no text but {kind}")
    if _is_utf8(head, is_whole=is_whole) and b"\0" not in head:
        return Decoding(None)
    lines = head if b"\n" in head else head.replace(b"\r", b"\n")
    found = _recognised(path, [_Line(n, line) for n, line in enumerate(lines.split(b"\n"), start=1) if line])
    return Decoding(found.name if found else None, found)


class _Line(NamedTuple):
    number: int
    raw: bytes


def _recognised(path: Path, lines: Sequence[_Line]) -> Recognised | None:
    binary = [line for line in lines if _is_binary(line.raw)]
    if 2 * len(binary) > len(lines):
        raise InputError(
            f"{path}:{binary[0].number}: binary data, and so are {len(binary):,} of the first {len(lines):,} "
            "lines; is its suffix that of its format? Export it as text (UTF-8)"
        )
    texts = [line for line in lines if not line.raw.isascii() and not _CONTROL.search(line.raw)]
    foreign = [line for line in texts if not _is_utf8(line.raw)]
    if len(foreign) <= _STRAYS * len(texts):
        return None
    likely = _likely([line.raw for line in foreign])
    only = likely[0] if len(likely) == 1 else None
    fitting = [line for line in texts if _is_utf8_text(line.raw, only in _MULTI_BYTE)]
    if fitting:
        raise InputError(
            f"{path}:{foreign[0].number}: the file is in two encodings: line {fitting[0].number} is UTF-8, "
            f"line {foreign[0].number} is not; convert it to one, or have it read as one of them "
            "(--encoding utf-8), which passes over the lines that do not fit"
        )
    if only is None:
        may_be = f"; it may be {' or '.join(likely[:4])}" if likely else ""
        raise InputError(
            f"{path}:{foreign[0].number}: not UTF-8, and its encoding cannot be told{may_be}: "
            "name it (--encoding NAME), or convert the file to UTF-8"
        )
    text = b"".join(line.raw for line in foreign[:_LINES_SHOWN]).decode(only, errors="replace")
    beyond = sorted({one for one in text if one.isalpha() and not one.isascii()})
    return Recognised(only, foreign[0].number, " ".join(beyond[:_CHARACTERS_SHOWN]))


def _likely(lines: Sequence[bytes]) -> list[str]:
    """The encodings that lines may be in; one where it is clear, or usual."""
    from charset_normalizer import from_bytes  # only where it is needed

    sample = b""
    for line in lines:
        if len(sample) + len(line) > _SAMPLE_BYTES:
            sample = sample or line[:_SAMPLE_BYTES]
            break
        sample += line + b"\n"
    scores: dict[str, float] = {}
    known = [*_SINGLE_BYTE, *_MULTI_BYTE]
    for match in from_bytes(sample, cp_isolation=known, preemptive_behaviour=False, enable_fallback=False):
        for name in match.could_be_from_charset:
            scores[name] = match.chaos - 0.1 * match.coherence + _oddity(sample, name)
    best = min(scores.values(), default=0.0)
    likely = [name for name in known if name in scores and scores[name] <= best + _CLEAR]
    return [_USUAL] if _USUAL in likely else likely


def _oddity(sample: bytes, name: str) -> float:
    """The share of characters beyond ASCII that stand where no language has such ones."""
    text = f" {sample.decode(name, errors='replace')} "
    beyond = [place for place, character in enumerate(text) if not character.isascii()]
    odd = 0
    for place in beyond:
        before, character, after = text[place - 1], text[place], text[place + 1]
        is_inside = before.isalpha() and after.isalpha()
        if character in "¹²³¸":
            odd += before.isalpha() or after.isalpha()
        elif is_inside and not character.isalpha():
            odd += character not in _BETWEEN_LETTERS
        elif is_inside and character.isupper():
            odd += before.islower() and after.islower()
    return odd / max(len(beyond), 1)


def _is_binary(raw: bytes) -> bool:
    return b"\0" in raw or (_CONTROL.search(raw) is not None and not _is_utf8(raw))


def _is_utf8(raw: bytes, *, is_whole: bool = True) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(raw, final=is_whole)
    except UnicodeDecodeError:
        return False
    return True


def _is_utf8_text(raw: bytes, beside_multi_byte: bool) -> bool:
    """Whether a line is UTF-8 and hardly anything else; short ones beside some encodings may be both."""
    if raw.isascii() or not _is_utf8(raw):
        return False
    return not beside_multi_byte or len(_UTF8_OF_THREE.findall(raw)) > 1


def _refuse_zeros(path: Path, head: bytes) -> None:
    half = len(head) // 2
    zeros = head.count(0)
    if half < 4 or zeros < half // 3:
        return
    for name, start in (("utf-16-le", 1), ("utf-16-be", 0)):
        if head[start::2].count(0) > 0.9 * zeros:
            raise InputError(
                f"{path} looks like UTF-16 without a byte order mark: name it (--encoding {name})"
            )
