"""What a run holds back for exams, read once: each candidate reads only what came or changed since the last.

Of each row a few numbers are kept. What they belong to is read when it is chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from everlearn.journal.journal import DROPPED_TO, Journal
from everlearn.journal.standing.exam_examples import ExamExample, ExamExamples

__all__ = ["ExamRows", "balanced", "hash_share"]

Group = tuple[str | None, ...]
Places = npt.NDArray[np.intp]

_ROW = np.dtype([("offset", "i8"), ("step", "i8"), ("group", "i8"), ("hash", "f8")])


def hash_share(id_: str, purpose: str) -> float:
    """A number in [0, 1) that is a function of the id: the same for every run, order and restart.

    >>> 0.0 <= hash_share("message-1", "exam") < 1.0
    True
    """
    key = purpose.encode()
    digest = blake2b(id_.encode("utf-8", "surrogatepass"), digest_size=8, key=key).digest()
    return int.from_bytes(digest, "little") / 2**64


class ExamRows:
    """The rows of all exam examples that have a target and are not set aside, in order of offsets.

    What is examined on texts is examined on those that are kept.

    Args:
        journal: Holds them.
        group_of: The group of an example, by its domain and its present target.
        name_of: What its hash is of, by its id and fields.
        need_text: Whether those whose texts were dropped are of no use.

    Attributes:
        rows: ``offset``, ``step``, ``group`` (a place in ``groups``) and ``hash`` of each.
        groups: All groups there were.
    """

    def __init__(
        self,
        journal: Journal,
        group_of: Callable[[str | None, str], Group],
        name_of: Callable[[str, str | None], str] = lambda id_, _: id_,
        *,
        need_text: bool = False,
    ) -> None:
        self._journal = journal
        self._examples = ExamExamples(journal, need_text=need_text)
        self._group_of = group_of
        self._name_of = name_of
        self.rows = np.zeros(0, _ROW)
        self.groups: list[Group] = []
        self._places: dict[Group, int] = {}
        self._step = self._revision = self._change = 0
        self._need_text = need_text
        self._dropped: str | None = None

    def refresh(self) -> None:
        """Take in what came, was changed, set aside or deleted since the last time."""
        journal, examples = self._journal, self._examples
        first_step = self._step + 1 if journal.last_step >= self._step else 1
        revised = journal.history.revised_since(self._revision)
        if revised is not None:
            first_step, self._revision = min(first_step, revised.first_step), revised.last_revision
        if self._need_text and (dropped := journal.meta(DROPPED_TO)) != self._dropped:
            first_step, self._dropped = 1, dropped
        first = journal.last_offset_of(first_step - 1) + 1
        kept = self.rows[: int(np.searchsorted(self.rows["offset"], first))]
        read = [self._row(example) for example in examples.since(first)]
        changed = {offset for offset in examples.changed_since(self._change) if offset < first}
        if changed:
            kept = kept[~np.isin(kept["offset"], list(changed))]
            for offset in changed:
                found = examples.at(offset)
                read += [] if found is None else [self._row(found)]
        if changed or read or len(kept) < len(self.rows):
            rows = np.concatenate([kept, np.array(read, _ROW)])
            self.rows = rows[np.argsort(rows["offset"], kind="stable")]
        self._step = journal.last_step
        self._change = examples.last_change

    def _row(self, example: ExamExample) -> tuple[int, int, int, float]:
        group = self._group_of(example.domain, example.target)
        place = self._places.setdefault(group, len(self.groups))
        if place == len(self.groups):
            self.groups.append(group)
        share = hash_share(self._name_of(example.id, example.fields), "long-term")
        return example.offset, example.step, place, share


def balanced(rows: npt.NDArray[np.void], size: int) -> Places:
    """At most ``size`` rows, as many as possible of the smallest groups: those of the smallest hashes.

    Args:
        rows: As of ``ExamRows``.
        size: How many.

    Returns:
        Their places among the rows, in order.
    """
    if not len(rows):
        return np.zeros(0, np.intp)
    order = np.lexsort((rows["offset"], rows["hash"], rows["group"]))
    _, appeared, counts = np.unique(rows["group"], return_index=True, return_counts=True)
    starts = np.cumsum(counts) - counts
    chosen: list[Places] = []
    num_chosen = 0
    by_size = np.lexsort((appeared, counts)).tolist()
    for k, group in enumerate(by_size):
        room = min((size - num_chosen) // (len(by_size) - k), int(counts[group]))
        chosen.append(order[starts[group] : starts[group] + room])
        num_chosen += room
    return np.sort(np.concatenate(chosen))
