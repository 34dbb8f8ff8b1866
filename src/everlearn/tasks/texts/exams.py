"""The exams of language models and encoder-decoders: held-back documents and pairs, judged by their losses.

A document is held back as a whole, whatever the number of pieces it comes in. Which of two models is better
at a document or pair is told by its loss; how many go one way and how many the other is McNemar's question
again, so the same paired test answers it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt

from everlearn.document_piece import DocumentPiece
from everlearn.evaluation.paired import PairedTest, compare_paired
from everlearn.evaluation.text_scores import bits_per_byte
from everlearn.journal.journal import Journal
from everlearn.journal.rows.entries import entry_at
from everlearn.tasks.exam_rows import ExamRows, balanced
from everlearn.tasks.exams import Compared, Examined, Exams
from everlearn.types import Example, Predictor, TextLoss

__all__ = ["LossExams", "LossItem"]

_SCORED_AT_ONCE = 64
_MAX_PIECES = 4
"""Of a document; what a long one says is known by its beginning."""
_NOISE = 1e-6
"""Losses that differ relatively less are equal: what lies beside a document moves its last bits."""


class _LossPredictor(Protocol):
    """Has a loss on texts."""

    def score_each(self, groups: Sequence[Sequence[Example]]) -> Sequence[TextLoss]:
        """One loss a group of examples; nothing is learned."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LossItem:
    """A document or a pair of an exam.

    Attributes:
        name: The document's, or the pair's id.
        domain: Where it comes from.
        offsets: Of its pieces in the journal, in order.
        target: Its present target.
    """

    name: str
    domain: str | None
    offsets: tuple[int, ...]
    target: str


class LossExams(Exams[LossItem]):
    """Chooses what is examined on, and lets two models sit the exams.

    The losses of the model that serves are kept until another one does.

    Args:
        journal: Holds the texts.
        recent: Documents or pairs of the exam on the recent past.
        long_term: Of the other one, in equal parts of all domains.
        group_of: What is examined as a whole: a pair, or the document that a piece is of.
    """

    def __init__(
        self, journal: Journal, recent: int, long_term: int, *, group_of: Callable[[Example], str]
    ) -> None:
        self._journal = journal
        self._num_recent = recent
        self._num_long_term = long_term
        self._group_of = group_of
        self._rows = ExamRows(journal, lambda domain, _: (domain,), self._name_of, need_text=True)
        self._live: Predictor | None = None
        self._of_live: dict[LossItem, TextLoss] = {}
        self._of_candidate: dict[LossItem, TextLoss] = {}

    def choose(self, first_offset: int | None = None) -> tuple[list[LossItem], list[LossItem]]:
        """The recent and the long-term exam, as of now.

        Args:
            first_offset: The long-term exam is on what came before this offset: any text makes a model better
                at its like, garbage too, and only other text tells what it costs. None: on everything.
        """
        firsts, items = self._items()
        is_before = np.full(len(firsts), True) if first_offset is None else firsts["offset"] < first_offset
        eligible = np.flatnonzero(is_before)
        long_term = [self._item(items[k]) for k in eligible[balanced(firsts[eligible], self._num_long_term)]]
        recent = [self._item(offsets) for offsets in items[-self._num_recent :]]
        wanted = {*recent, *long_term}
        self._of_live = {item: loss for item, loss in self._of_live.items() if item in wanted}
        return recent, long_term

    def since(self, first_offset: int) -> list[LossItem]:
        """Documents that began, and pairs that came, from an offset on."""
        firsts, items = self._items()
        return [self._item(one) for one in items[np.searchsorted(firsts["offset"], first_offset) :]]

    def needed(self, first_offset: int) -> set[int]:
        """Offsets of all that this candidate and the next are examined on, as of now.

        Args:
            first_offset: Where the present interval begins.
        """
        firsts, items = self._items()
        before = int(np.searchsorted(firsts["offset"], first_offset))
        places = {
            *range(max(0, len(items) - self._num_recent), len(items)),
            *balanced(firsts[:before], self._num_long_term).tolist(),
            *balanced(firsts, self._num_long_term).tolist(),
            *range(before, len(items)),
        }
        return {offset for place in places for offset in items[place]}

    def begin(self, live: Examined) -> None:
        """Another candidate is to be compared with the model that serves."""
        if live.predictor is not self._live:
            self._live, self._of_live = live.predictor, {}
        self._of_candidate = {}

    def adopt(self, live: Examined) -> None:
        """The candidate serves from now on, as this predictor."""
        self._live, self._of_live, self._of_candidate = live.predictor, self._of_candidate, {}

    def compare(
        self,
        live: Examined,
        candidate: Examined,
        items: Sequence[LossItem],
        *,
        tolerance: float,
        test: PairedTest,
    ) -> Compared:
        """Compare two models document by document (or pair by pair).

        Items whose texts were dropped are passed over. The tolerance is a relative rise of a loss.
        """
        self._score(live.predictor, items, self._of_live)
        self._score(candidate.predictor, items, self._of_candidate)
        both = [
            (self._of_live[item], self._of_candidate[item])
            for item in items
            if item in self._of_live and item in self._of_candidate
        ]
        before = np.array([loss.nats for loss, _ in both])
        after = np.array([loss.nats for _, loss in both])
        is_lost = ~(after <= before * (1.0 + max(tolerance, _NOISE)))  # no number at all is a loss too
        is_won = after < before * (1.0 - _NOISE)
        paired = compare_paired(is_lost, is_won, test=test)
        num_bytes = sum(loss.bytes for loss, _ in both)
        live_bits = bits_per_byte(float(before.sum()), num_bytes)
        candidate_bits = bits_per_byte(float(after.sum()), num_bytes)
        fall = "" if live_bits is None else f"bits per byte go from {live_bits:.4f} to {candidate_bits:.4f}, "
        return Compared(
            num_examples=len(both),
            lost=paired.lost,
            won=paired.won,
            p_value=paired.p_value,
            change=f"{fall}worse on {paired.lost:,} of {len(both):,} texts and better on {paired.won:,}",
            scores={"bits_per_byte": candidate_bits},
            numbers={
                "examples": len(both),
                "live_bits_per_byte": live_bits,
                "candidate_bits_per_byte": candidate_bits,
                "lost": paired.lost,
                "won": paired.won,
                "p_value": paired.p_value,
            },
        )

    def _score(
        self, predictor: Predictor, items: Sequence[LossItem], known: dict[LossItem, TextLoss]
    ) -> None:
        """Find the losses that are not known yet."""
        missing = [one for one in items if one not in known]
        for start in range(0, len(missing), _SCORED_AT_ONCE):
            batch = missing[start : start + _SCORED_AT_ONCE]
            groups = [self._examples(item) for item in batch]
            losses = cast(_LossPredictor, predictor).score_each(groups)
            known |= {item: loss for item, loss in zip(batch, losses, strict=True) if loss.tokens}

    def _examples(self, item: LossItem) -> list[Example]:
        found = [self._journal.examples.at(offset) for offset in item.offsets]
        pieces = [replace(one, target=item.target) for one in found if one and one.text]
        if len(pieces) < len(found):
            return []
        if len(pieces) > 1 and (piece := DocumentPiece.of(pieces[-1])) is not None:
            pieces[-1] = replace(piece, is_last=True).put_on(pieces[-1])
        return pieces

    def _items(self) -> tuple[npt.NDArray[np.void], list[tuple[int, ...]]]:
        """Documents or pairs in the order of their beginnings: the first row of each, and its offsets."""
        self._rows.refresh()
        rows = self._rows.rows
        # Pieces of a document have its name's hash.
        order = np.lexsort((rows["offset"], rows["hash"]))
        hashes = rows["hash"][order]
        starts = np.flatnonzero(np.concatenate([[True], hashes[1:] != hashes[:-1]])[: len(rows)])
        ends = np.append(starts[1:], len(rows))
        begin = np.argsort(rows["offset"][order[starts]])
        offsets = rows["offset"][order]
        items = [tuple(offsets[starts[k] : min(ends[k], starts[k] + _MAX_PIECES)].tolist()) for k in begin]
        return rows[order[starts[begin]]], items

    def _item(self, offsets: tuple[int, ...]) -> LossItem:
        entry = entry_at(self._journal, offsets[0])
        return LossItem(
            name=self._name_of(entry.id, entry.fields),
            domain=entry.domain,
            offsets=offsets,
            target=str(self._journal.standings.present_target(entry.offset, entry.target)),
        )

    def _name_of(self, id_: str, fields: str | None) -> str:
        return self._group_of(Example(id=id_, fields=json.loads(fields) if fields else {}))
