"""The tokens that wait in one lane: documents back to back, each made of the runs of several examples.

A *slot* is a token together with the next one of its document, which is its label. A document of n
waiting tokens has n - 1 slots; its last token waits for the label that the next run may bring.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

__all__ = ["Document", "LaneQueue", "Piece", "Slots", "example_key"]


def example_key(example_id: str) -> int:
    """A signed 64-bit hash of an id. Two ids with one hash only cost a needless reset of a lane."""
    digest = blake2b(example_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Consecutive tokens of one example: int32, bool and int32 (T,)."""

    example_id: str
    domain: str | None
    ids: npt.NDArray[np.int32]
    is_target: npt.NDArray[np.bool_]
    num_bytes: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.ids)

    def cut(self, start: int, stop: int | None = None) -> Piece:
        """Tokens ``start`` to ``stop``, as views."""
        part = slice(start, stop)
        return Piece(self.example_id, self.domain, self.ids[part], self.is_target[part], self.num_bytes[part])


@dataclass(slots=True, eq=False)
class Document:
    """What waits of one document.

    Attributes:
        number: Tells it from all other documents of the lanes.
        name: As its runs call it.
        is_open: Whether more may follow.
        first_position: Position of the first waiting token within the document.
        pieces: The waiting tokens.
        num_tokens: Their number.
    """

    number: int
    name: str
    is_open: bool = True
    first_position: int = 0
    pieces: deque[Piece] = field(default_factory=deque)
    num_tokens: int = 0

    @property
    def num_slots(self) -> int:
        """Labels that wait."""
        return max(0, self.num_tokens - 1)

    def append(self, piece: Piece) -> None:
        """Add tokens at the end."""
        if len(piece):
            self.pieces.append(piece)
            self.num_tokens += len(piece)

    def head(self, count: int) -> list[Piece]:
        """The first tokens; they stay."""
        parts = []
        for piece in self.pieces:
            if count <= 0:
                break
            parts.append(piece.cut(0, count))
            count -= len(piece)
        return parts

    def drop(self, count: int) -> None:
        """Remove the first tokens."""
        self.num_tokens -= count
        self.first_position += count
        while count:
            piece = self.pieces.popleft()
            if len(piece) > count:
                self.pieces.appendleft(piece.cut(count))
                return
            count -= len(piece)

    def discard(self, example_ids: Collection[str]) -> int:
        """Remove the tokens of these examples; what follows moves up. Returns how many."""
        kept = deque(piece for piece in self.pieces if piece.example_id not in example_ids)
        before = self.num_tokens
        self.pieces, self.num_tokens = kept, sum(map(len, kept))
        return before - self.num_tokens


@dataclass(frozen=True, slots=True, eq=False)
class Slots:
    """Consecutive slots of one document.

    Attributes:
        number: Of the document.
        first_position: Position of the first token.
        tokens: The tokens: one more than there are slots, the last is only a label.
    """

    number: int
    first_position: int
    tokens: list[Piece]


class LaneQueue:
    """One lane.

    Attributes:
        documents: What waits, in order.
        num_slots: Labels that wait.
        context_number: Document of the last slot that was taken; None where there is none.
        context_examples: Keys of the examples that tokens of that document were taken of. It grows by
            8 bytes an example until the document ends, as a model may remember all of a document.
    """

    def __init__(self) -> None:
        self.documents: deque[Document] = deque()
        self.num_slots = 0
        self.context_number: int | None = None
        self.context_examples = array("q")

    def append(self, document: Document) -> None:
        """Put a document at the end."""
        self.documents.append(document)
        self.num_slots += document.num_slots

    def extend(self, document: Document, piece: Piece) -> None:
        """Add tokens to one of the lane's documents."""
        self.num_slots -= document.num_slots
        document.append(piece)
        self.num_slots += document.num_slots

    def row_length(self, length: int, one_document: bool, flush: bool) -> int:
        """Slots of the next row, at most ``length``; 0 where no row is ready."""
        if not one_document:
            return min(length, self.num_slots) if flush or self.num_slots >= length else 0
        for place, document in enumerate(self.documents):
            if document.num_slots:
                is_complete = not document.is_open or place + 1 < len(self.documents)
                is_ready = flush or is_complete or document.num_slots >= length
                return min(length, document.num_slots) if is_ready else 0
        return 0

    def num_ready(self, length: int, one_document: bool) -> int:
        """Slots that can be taken in rows that are ready without ``flush``."""
        if not one_document:
            return self.num_slots - self.num_slots % length
        last = self.documents[-1] if self.documents else None
        rest = last.num_slots % length if last is not None and last.is_open else 0
        return self.num_slots - rest

    def take(self, count: int) -> tuple[list[Slots], list[Document]]:
        """Remove the first slots.

        Returns:
            The slots by document, and open documents that were left because a later one was begun:
            each has only its last token, whose label never came.
        """
        taken: list[Slots] = []
        interrupted: list[Document] = []
        self.num_slots -= count
        while count:
            document = self.documents[0]
            size = min(count, document.num_slots)
            if size:
                taken.append(Slots(document.number, document.first_position, document.head(size + 1)))
                self._remember(taken[-1])
                document.drop(size)
                count -= size
            if count or not document.is_open:
                # With slots left, the row ends within the document.
                if document.num_slots:
                    break
                self.documents.popleft()
                if document.is_open:
                    interrupted.append(document)
        return taken, interrupted

    def _remember(self, slots: Slots) -> None:
        if slots.number != self.context_number:
            self.context_number, self.context_examples = slots.number, array("q")
        for piece in slots.tokens:
            key = example_key(piece.example_id)
            if not self.context_examples or self.context_examples[-1] != key:
                self.context_examples.append(key)

    def has_seen(self, keys: Collection[int]) -> bool:
        """Whether the context holds a token of one of these examples."""
        if not len(self.context_examples):
            return False
        return bool(np.isin(np.frombuffer(self.context_examples, dtype=np.int64), list(keys)).any())

    def clear_context(self) -> Document | None:
        """Forget what was taken; returns the waiting rest of that document, if there is one."""
        number, self.context_number, self.context_examples = self.context_number, None, array("q")
        return next((document for document in self.documents if document.number == number), None)

    def discard(self, example_ids: Collection[str]) -> tuple[int, list[Document]]:
        """Remove the waiting tokens of these examples.

        Returns:
            How many tokens, and the documents of which nothing is left, which are removed as well. A
            document that the context goes on with stays, to be continued.
        """
        removed = sum(document.discard(example_ids) for document in self.documents)
        emptied = [
            document
            for document in self.documents
            if not document.num_tokens and not (document.is_open and document.number == self.context_number)
        ]
        self.documents = deque(document for document in self.documents if document not in emptied)
        self.num_slots = sum(document.num_slots for document in self.documents)
        return removed, emptied
