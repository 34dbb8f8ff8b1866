"""What was learned since the live predictor's base was made, batch by batch: what a saved state needs
beside the sums.

Made again from the sums without these batches, to which they are added again in their order, a live
predictor is to the bit what it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Literal

import numpy as np
import torch

from everlearn.learning.closed_form.saved_state import codes_from_tensors, codes_to_tensors
from everlearn.learning.closed_form.statistics.members import Members
from everlearn.memory.hash_sample import Sampled
from everlearn.types import Code, Json

__all__ = ["AddedRows", "Batch"]

_PREFIX = "live."


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Examples that were learned together.

    Attributes:
        ids: Ids.
        codes: Codes.
        members: Their classes.
        num_classes: C, new ones included.
        sign: -1: they were taken out.
    """

    ids: Sequence[str]
    codes: Sequence[Code]
    members: Members
    num_classes: int
    sign: Literal[1, -1] = 1


@dataclass(slots=True)
class AddedRows:
    """Batches behind a base.

    Attributes:
        num_classes: Classes of the base.
        is_few: Whether the base is of few examples, all of which a sample holds.
        added: Batches that are rows of the live predictor.
        pending: Batches that will be, before the next prediction.
    """

    num_classes: int = 0
    is_few: bool = True
    added: list[Batch] = field(default_factory=list)
    pending: list[Batch] = field(default_factory=list)

    @property
    def num_rows(self) -> int:
        """Rows, the pending included."""
        return sum(len(batch.ids) for batch in self.all())

    def all(self) -> list[Batch]:
        """All batches, in their order."""
        return [*self.added, *self.pending]

    def by_sign(self) -> Iterator[tuple[list[Code], Members, int]]:
        """Codes and classes of all batches, those that were added and those that were taken out."""
        for sign in (1, -1):
            batches = [batch for batch in self.all() if batch.sign == sign]
            if batches:
                codes = [code for batch in batches for code in batch.codes]
                yield codes, _joined(batches), sign

    def without(self, members: Iterable[Sampled]) -> list[Sampled]:
        """Those of a sample that holds everything which the base is of."""
        left = Counter(id_ for batch in self.all() for id_ in batch.ids)
        found = []
        for member in members:
            if left[member.id]:
                left[member.id] -= 1
            else:
                found.append(member)
        return found

    def before(self, members: Iterable[Sampled], labels: Sequence[str]) -> list[Sampled]:
        """Members of a sample as they were when the base was made, smallest hash first.

        Args:
            members: They are now, those in reserve included.
            labels: Labels in the order of the classes.
        """
        since: dict[tuple[str, str], list[Sampled]] = {}
        extra: Counter[tuple[str, str]] = Counter()
        for batch in self.all():
            own = [labels[class_] for class_ in batch.members.classes_N.tolist()]
            for key, code in zip(zip(batch.ids, own, strict=True), batch.codes, strict=True):
                extra[key] += batch.sign
                since.setdefault(key, []).append(Sampled.of(*key, code))
        found = []
        for member in members:
            key = member.id, member.label
            if extra[key] > 0:
                extra[key] -= 1
            else:
                found.append(member)
        for key, num in extra.items():
            found += since[key][: max(0, -num)]
        return sorted(found)

    def to_state(self) -> tuple[dict[str, torch.Tensor], dict[str, Json]]:
        """The batches as tensors and JSON."""
        batches = self.all()
        tensors = codes_to_tensors([code for batch in batches for code in batch.codes], _PREFIX)
        members = _joined(batches)
        tensors[f"{_PREFIX}classes"] = torch.from_numpy(members.classes_N)
        if members.rows_N is not None:
            tensors[f"{_PREFIX}rows"] = torch.from_numpy(members.rows_N)
        data: dict[str, Json] = {
            "num_classes": self.num_classes,
            "is_few": self.is_few,
            "num_added": len(self.added),
            "batches": [
                {"ids": list(batch.ids), "num_classes": batch.num_classes, "sign": batch.sign}
                for batch in batches
            ],
        }
        return tensors, data

    @classmethod
    def from_state(cls, tensors: Mapping[str, torch.Tensor], data: Mapping[str, Json]) -> AddedRows:
        """The inverse of ``to_state``."""
        codes = codes_from_tensors(tensors, _PREFIX)
        saved_rows = tensors.get(f"{_PREFIX}rows")
        members = Members(
            tensors[f"{_PREFIX}classes"].numpy(), None if saved_rows is None else saved_rows.numpy()
        )
        rows, start = cls(int(data["num_classes"]), bool(data["is_few"])), 0
        for batch in data["batches"]:
            ids = [str(id_) for id_ in batch["ids"]]
            stop = start + len(ids)
            sign: Literal[1, -1] = 1 if batch["sign"] == 1 else -1
            rows.pending.append(
                Batch(ids, codes[start:stop], members.part(start, stop), int(batch["num_classes"]), sign)
            )
            start = stop
        num_added = int(data["num_added"])
        rows.added, rows.pending = rows.pending[:num_added], rows.pending[num_added:]
        return rows


def _joined(batches: Sequence[Batch]) -> Members:
    """The classes of the examples of all batches."""
    starts = accumulate((len(batch.ids) for batch in batches), initial=0)
    parts = [batch.members for batch in batches]
    classes_N = np.concatenate([part.classes_N for part in parts] or [np.zeros(0, np.int64)])
    if all(part.rows_N is None for part in parts):
        return Members(classes_N)
    rows = [part.rows + start for part, start in zip(parts, starts, strict=False)]
    return Members(classes_N, np.concatenate(rows))
