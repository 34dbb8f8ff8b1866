"""Several documents side by side: each lane gives the chunks of its documents one after another.

Legend: R rows, L tokens of a row, T tokens of a run.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from everlearn.context.lane_queue import Document, LaneQueue, Piece, Slots, example_key
from everlearn.context.lane_state import pack_queues, unpack_queues
from everlearn.errors import ConfigError, StateError
from everlearn.types import State

__all__ = ["NO_LABEL", "LaneChunk", "Lanes", "Span", "TokenRun", "chunk_of_rows"]

NO_LABEL = -100
"""Label of a slot that predicts nothing; torch's cross-entropy leaves it out."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenRun:
    """Tokens of one example, to be appended to one document.

    Attributes:
        example_id: The example.
        document: Name of the document.
        ids: int32 (T,); T may be 0 for a run that only ends a document.
        is_target: bool (T,): whether a token's loss counts in training.
        num_bytes: int32 (T,): UTF-8 bytes that each token stands for; 0 for special tokens.
        domain: Where the example comes from, if it says so.
        starts_document: A document of this name that is still open ends, and another starts.
        ends_document: No token will follow in this document.
    """

    example_id: str
    document: str
    ids: npt.NDArray[np.int32]
    is_target: npt.NDArray[np.bool_]
    num_bytes: npt.NDArray[np.int32]
    domain: str | None = None
    starts_document: bool = True
    ends_document: bool = True

    def __post_init__(self) -> None:
        assert len(self.ids) == len(self.is_target) == len(self.num_bytes)


class Span(NamedTuple):
    """Slots ``start`` to ``stop`` (excluded) of a row, whose labels are tokens of one example."""

    row: int
    start: int
    stop: int
    example_id: str
    domain: str | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LaneChunk:
    """One row of each of some lanes. A slot's label is the next token of the slot's document.

    Attributes:
        lanes: int64 (R,), ascending: which lane each row is of.
        ids: int64 (R, L): the tokens that are read; 0 where padded.
        labels: int64 (R, L): the tokens to predict; ``NO_LABEL`` where padded.
        is_target: bool (R, L): of the label's token.
        num_bytes: int32 (R, L): of the label's token.
        document: int64 (R, L): equal for tokens of one document, across chunks; -1 for padding, which
            only follows tokens.
        position: int64 (R, L): within the document, from 0.
        spans: Whose the labels are; an example may have several.
    """

    lanes: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    is_target: npt.NDArray[np.bool_]
    num_bytes: npt.NDArray[np.int32]
    document: npt.NDArray[np.int64]
    position: npt.NDArray[np.int64]
    spans: tuple[Span, ...]

    @property
    def num_labels(self) -> int:
        """Tokens that are predicted."""
        return int((self.labels != NO_LABEL).sum())


def chunk_of_rows(lanes: Sequence[int], rows: Sequence[Sequence[Slots]]) -> LaneChunk:
    """Rows of slots as arrays, padded to the longest.

    Args:
        lanes: Lane of each row.
        rows: The slots of each row, by document.
    """
    num_slots = [sum(len(piece) for part in row for piece in part.tokens) - len(row) for row in rows]
    shape = (len(rows), max(num_slots))
    ids, labels = np.zeros(shape, np.int64), np.full(shape, NO_LABEL, np.int64)
    is_target, num_bytes = np.zeros(shape, np.bool_), np.zeros(shape, np.int32)
    document, position = np.full(shape, -1, np.int64), np.zeros(shape, np.int64)
    spans = []
    for index, row in enumerate(rows):
        start = 0
        for part in row:
            tokens = np.concatenate([piece.ids for piece in part.tokens])
            stop = start + len(tokens) - 1
            ids[index, start:stop], labels[index, start:stop] = tokens[:-1], tokens[1:]
            is_target[index, start:stop] = np.concatenate([piece.is_target for piece in part.tokens])[1:]
            num_bytes[index, start:stop] = np.concatenate([piece.num_bytes for piece in part.tokens])[1:]
            document[index, start:stop] = part.number
            position[index, start:stop] = np.arange(part.first_position, part.first_position + stop - start)
            spans += _spans(index, start - 1, part.tokens)
            start = stop
        # Positions go on where padded, so that they tell nothing of where a document starts.
        position[index, start:] = position[index, start - 1] + np.arange(1, shape[1] - start + 1)
    return LaneChunk(
        lanes=np.array(lanes, np.int64),
        ids=ids,
        labels=labels,
        is_target=is_target,
        num_bytes=num_bytes,
        document=document,
        position=position,
        spans=tuple(spans),
    )


def _spans(row: int, first: int, tokens: Sequence[Piece]) -> list[Span]:
    """The spans of consecutive tokens, whose first is the label of slot ``first`` and does not count."""
    spans, place = [], first
    for piece in tokens:
        start, place = max(place, first + 1), place + len(piece)
        if start < place:
            spans.append(Span(row, start, place, piece.example_id, piece.domain))
    return spans


class Lanes:
    """Queues of tokens, B documents side by side.

    A document that is open stays in its lane. A new one goes to a lane in which no document is open, if
    there is one, and among those to the one with the fewest labels waiting, then the lowest number.
    Documents lie back to back, so a row may hold the end of one and the start of another.

    The label of a row's last slot is the document's next token, so a lane keeps one token back: the
    first of its next row. Every token of a document but the first is the label of exactly one slot. If
    more documents are open than there are lanes, one may be left for another before it ends; its next
    run then starts a new context, from its last token on.

    Args:
        num_lanes: B.
        chunk_length: L.
        one_document_per_row: Rows end where a document ends (see ``Carry.one_document_per_row``).

    Raises:
        ConfigError: A number is not positive.

    Example:
        >>> lanes = Lanes(num_lanes=2, chunk_length=4)
        >>> for name, length in (("a", 6), ("b", 4), ("c", 3)):
        ...     ids = np.arange(length, dtype=np.int32)
        ...     parts = {"ids": ids, "is_target": ids >= 0, "num_bytes": ids}
        ...     lanes.add(TokenRun(example_id=name, document=name, **parts))
        >>> chunk = lanes.take(max_tokens=64)
        >>> chunk.ids.tolist(), chunk.labels.tolist(), chunk.document.tolist()
        ([[0, 1, 2, 3], [0, 1, 2, 0]], [[1, 2, 3, 4], [1, 2, 3, 1]], [[0, 0, 0, 0], [1, 1, 1, 2]])
        >>> lanes.num_pending, lanes.num_full
        (2, 0)
    """

    def __init__(self, num_lanes: int, chunk_length: int, one_document_per_row: bool = False) -> None:
        for name, value in (("num_lanes", num_lanes), ("chunk_length", chunk_length)):
            if value < 1:
                raise ConfigError(f"{name} must be at least 1, not {value!r}")
        self.num_lanes = num_lanes
        self.chunk_length = chunk_length
        self.one_document_per_row = one_document_per_row
        self._clear()

    def _clear(self) -> None:
        self._queues = [LaneQueue() for _ in range(self.num_lanes)]
        # Open documents by name, with their lane; None: left for another one, only the last token is kept.
        self._open: dict[str, tuple[int | None, Document]] = {}
        self._next_number = 0

    @property
    def num_pending(self) -> int:
        """Labels that wait; 0 after everything was taken with ``flush``."""
        return sum(queue.num_slots for queue in self._queues)

    @property
    def num_full(self) -> int:
        """Labels that can be taken without ``flush``."""
        return sum(queue.num_ready(self.chunk_length, self.one_document_per_row) for queue in self._queues)

    def add(self, run: TokenRun) -> None:
        """Append a run to its document."""
        if run.starts_document:
            self._end(run.document)
        if len(run.ids):
            lane, document = self._open.get(run.document, (None, None))
            if lane is None or document is None:
                lane = self._choose_lane()
                # The last token of a document that was left is what the next token is predicted from.
                document = self._new_document(run.document, document.pieces if document else ())
                self._queues[lane].append(document)
                self._open[run.document] = (lane, document)
            piece = Piece(run.example_id, run.domain, run.ids, run.is_target, run.num_bytes)
            self._queues[lane].extend(document, piece)
        if run.ends_document:
            self._end(run.document)

    def _end(self, name: str) -> None:
        if name in self._open:
            _, document = self._open.pop(name)
            document.is_open = False

    def _new_document(self, name: str, pieces: Collection[Piece]) -> Document:
        document = Document(self._take_number(), name)
        for piece in pieces:
            document.append(piece)
        return document

    def _take_number(self) -> int:
        self._next_number += 1
        return self._next_number - 1

    def _choose_lane(self) -> int:
        occupied = {lane for lane, _ in self._open.values()}
        return min(
            range(self.num_lanes), key=lambda lane: (lane in occupied, self._queues[lane].num_slots, lane)
        )

    def take(self, max_tokens: int, flush: bool = False) -> LaneChunk | None:
        """The next row of each lane that has a full one; None if there is none.

        Args:
            max_tokens: Bound of R times L; the lanes with most labels waiting come first.
            flush: Take ragged ends as well.

        Raises:
            ConfigError: ``max_tokens`` is less than one row.
        """
        if max_tokens < self.chunk_length:
            raise ConfigError(
                f"max_tokens must be at least one row of {self.chunk_length}, not {max_tokens!r}"
            )
        lengths = {
            lane: length
            for lane, queue in enumerate(self._queues)
            if (length := queue.row_length(self.chunk_length, self.one_document_per_row, flush))
        }
        if not lengths:
            return None
        order = sorted(lengths, key=lambda lane: (-self._queues[lane].num_slots, lane))
        lanes = sorted(order[: max_tokens // self.chunk_length])
        rows = [self._take_row(lane, lengths[lane]) for lane in lanes]
        return chunk_of_rows(lanes, rows)

    def _take_row(self, lane: int, length: int) -> list[Slots]:
        row, interrupted = self._queues[lane].take(length)
        for document in interrupted:
            self._open[document.name] = (None, document)
        return row

    def waiting_ids(self) -> list[str]:
        """Examples with waiting tokens, lane by lane."""
        pieces = [
            piece for queue in self._queues for document in queue.documents for piece in document.pieces
        ]
        return list(dict.fromkeys(piece.example_id for piece in pieces))

    def lanes_of(self, example_ids: Collection[str]) -> list[int]:
        """Lanes whose carried context has seen these examples: ask before ``forget``, and reset them."""
        keys = {example_key(example_id) for example_id in example_ids}
        return [lane for lane, queue in enumerate(self._queues) if queue.has_seen(keys)]

    def examples_of(self, example_ids: Collection[str]) -> set[str]:
        """Those of these examples that tokens wait of, or that a carried context has seen."""
        left = [document for lane, document in self._open.values() if lane is None]
        waiting = {
            piece.example_id
            for document in [*(queued for queue in self._queues for queued in queue.documents), *left]
            for piece in document.pieces
        }
        seen = {key for queue in self._queues for key in queue.context_examples}
        return {id_ for id_ in example_ids if id_ in waiting or example_key(id_) in seen}

    def forget(self, example_ids: Collection[str]) -> int:
        """Drop the pending tokens of these examples; returns how many.

        What remains of their documents moves up. Where tokens of them were taken already, the rest of
        the document counts as a new one, so that it cannot see them (``lanes_of`` names those lanes).
        """
        example_ids = set(example_ids)
        seen_by = self.lanes_of(example_ids)
        for lane in seen_by:
            rest = self._queues[lane].clear_context()
            if rest is not None:
                rest.number, rest.first_position = self._take_number(), 0
        num_dropped = 0
        for queue in self._queues:
            num_removed, emptied = queue.discard(example_ids)
            num_dropped += num_removed
            for document in emptied:
                if document.is_open:
                    # What comes next of it starts as if nothing had come before.
                    del self._open[document.name]
        left = [document for lane, document in self._open.values() if lane is None]
        return num_dropped + sum(document.discard(example_ids) for document in left)

    def state(self) -> State:
        """A copy of the queues and of what their contexts have seen."""
        left = [document for lane, document in self._open.values() if lane is None]
        packed = pack_queues(self._queues, left)
        return State(
            packed.tensors, {**self._settings(), **packed.data, "next_number": str(self._next_number)}
        )

    def _settings(self) -> dict[str, Any]:
        names = ("num_lanes", "chunk_length", "one_document_per_row")
        return {"format": 1, **{name: getattr(self, name) for name in names}}

    def restore(self, state: State) -> None:
        """Replace the queues.

        Raises:
            StateError: The state is damaged, or of lanes of another number or length.
        """
        for name, present in self._settings().items():
            saved = state.data.get(name)
            if saved != present:
                raise StateError(f"the saved lanes have {name}={saved!r}, these {present!r}")
        try:
            queues, left = unpack_queues(state)
            next_number = int(state.data["next_number"])
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise StateError(f"the saved lanes are damaged: {error!r}") from error
        if len(queues) != self.num_lanes:
            raise StateError(f"the saved lanes are damaged: {len(queues)} queues for {self.num_lanes} lanes")
        self._clear()
        self._queues, self._next_number = queues, next_number
        for lane, queue in enumerate(queues):
            self._open.update(
                {document.name: (lane, document) for document in queue.documents if document.is_open}
            )
        self._open.update({document.name: (None, document) for document in left})
