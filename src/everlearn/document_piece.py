"""A piece of a long document: what the stream cuts, and language models read as one text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from everlearn.types import Example

__all__ = ["DocumentPiece"]


@dataclass(frozen=True, slots=True)
class DocumentPiece:
    """Where in its document the text of an example stands.

    It travels in the example's fields ``document``, ``part`` and ``last``, so a journal keeps it, and a
    record may come with them.

    >>> example = DocumentPiece("a", 1, is_last=True).put_on(Example(id="a#1", text="five"))
    >>> DocumentPiece.of(example)
    DocumentPiece(document='a', part=1, is_last=True)
    >>> DocumentPiece.of(Example(id="b", text="six")) is None
    True

    Attributes:
        document: The document's name.
        part: Which of its pieces it is, from 0.
        is_last: Whether the document ends with it.
    """

    document: str
    part: int
    is_last: bool

    @classmethod
    def of(cls, example: Example) -> Self | None:
        """The piece that an example is; None: it is none, but a document of its own.

        A record may have fields of these names itself; pieces are those whose fields are of the right types:
        a text, a whole number, true or false.
        """
        fields: Mapping[str, Any] = example.fields
        document, part, last = (fields.get(name) for name in ("document", "part", "last"))
        if isinstance(document, str) and type(part) is int and part >= 0 and isinstance(last, bool):
            return cls(document, part, last)
        return None

    @classmethod
    def whole(cls, example: Example) -> Self:
        """Of an example that is no piece: all of its document."""
        return cls(example.id, 0, True)

    def put_on(self, example: Example) -> Example:
        """The example as this piece."""
        own = {"document": self.document, "part": self.part, "last": self.is_last}
        return replace(example, fields={**example.fields, **own})
