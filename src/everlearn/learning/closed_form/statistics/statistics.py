"""All that was learned, in integers: sums by class, the labels, and a bounded sample.

A function of the set of examples: adding, taking out and merging are exact, and the fingerprint says what
was learned.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch

from everlearn.learning.closed_form import saved_state
from everlearn.learning.closed_form.coding import Featurize
from everlearn.learning.closed_form.config import ClosedFormConfig
from everlearn.learning.closed_form.gram_sums import GramSums
from everlearn.learning.closed_form.statistics.class_statistic import ClassStatistic
from everlearn.learning.closed_form.statistics.count_sums import CountSums
from everlearn.learning.closed_form.statistics.feature_sums import FeatureSums
from everlearn.learning.closed_form.statistics.label_table import LabelTable
from everlearn.learning.closed_form.statistics.members import Members
from everlearn.learning.closed_form.statistics.text_sample import TextSample, bare
from everlearn.memory.hash_sample import HashSample, Sampled
from everlearn.types import Code, Json

__all__ = ["Statistics"]

_SAMPLE = "sample."
_TEXTS = "texts."


class Statistics:
    """Everything that the learner remembers.

    Args:
        config: Sizes.
        featurize: Gives int8 features (B, M) of codes.
        device: Where large sums live.
        sketched: See ``GramSums``.
        labels: Of nothing; default: a target is a label.
        with_words: Whether word grams are summed.

    Attributes:
        labels: Labels and how many examples each has.
        features: Sums of features.
        counts: Sums of hashed word grams; empty without ``with_words``.
        sample: Some of the examples; all of them while there are few.
        texts: More of them, without the dense part of their codes; None: nothing is fitted on them.
    """

    def __init__(
        self,
        config: ClosedFormConfig,
        featurize: Featurize,
        device: torch.device,
        sketched: torch.Tensor | None = None,
        labels: LabelTable | None = None,
        with_words: bool = True,
    ) -> None:
        self.labels = LabelTable() if labels is None else labels
        self.sample = HashSample(config.sample_size)
        self.texts = TextSample(self.sample) if with_words and config.word_ridge else None
        self.features = FeatureSums(
            lambda: GramSums(config.num_features, config.gather, device, sketched),
            featurize,
            self._everything,
        )
        self.counts = CountSums(config.gram_bits, config.gather)
        # What is summed by class, in the order in which a fingerprint has it: a further one comes last.
        self._sums: tuple[ClassStatistic, ...] = (
            (self.features, self.counts) if with_words else (self.features,)
        )

    @property
    def is_few(self) -> bool:
        """Whether the sample holds every example, so that nothing as large as the sums need be solved."""
        return self.sample.has_all and self.sample.num_held == self.labels.num_examples

    @property
    def is_all_used(self) -> bool:
        """Whether the sample uses every example; unlike ``is_few``, a function of the set of examples."""
        num = self.labels.num_examples
        return num <= self.sample.size and self.sample.num_held == num

    @property
    def is_complete(self) -> bool:
        """Whether the samples have the members that they should have; see ``resample``."""
        return self.sample.is_complete and (self.texts is None or self.texts.is_complete)

    def _everything(self) -> tuple[Sequence[Code], Members, int]:
        """All examples, while the sample holds them."""
        held = self.sample.members()
        members = self.labels.members(one.label for one in held)
        return [one.code for one in held], members, len(self.labels)

    def add(self, ids: Sequence[str], targets: Sequence[str], codes: Sequence[Code]) -> Members:
        """Add examples; labels may be new. Returns their classes."""
        if not self.sample.has_room_for(len(ids)):
            self.features.keep()
        self.labels.extend(self.labels.names_in(targets))
        members = self.labels.members(targets)
        self.labels.count(members.classes_N)
        self.count(codes, members)
        if self.texts is not None:
            self.texts.before_more(len(ids))
        self.sample.add(ids, targets, codes)
        if self.texts is not None:
            self.texts.add(ids, targets, codes)
        return members

    def subtract(self, ids: Sequence[str], targets: Sequence[str], codes: Sequence[Code]) -> tuple[str, ...]:
        """Take out examples that were added. Returns the labels that are gone with them."""
        if not self.sample.holds(ids, targets, codes):
            self.features.keep()  # the codes at hand would not say what is left
        members = self.labels.members(targets)
        self.labels.count(members.classes_N, sign=-1)
        self.count(codes, members, sign=-1)
        self.sample.remove(ids, targets, codes)
        if self.texts is not None:
            self.texts.remove(ids, targets, codes)
        kept = np.flatnonzero(self.labels.counts_C).tolist()
        gone = self.labels.without_examples()
        if len(kept) < len(self.labels):
            for sums in self._sums:
                sums.keep_classes(kept)
            self.labels.keep(kept)
        return gone

    def count(self, codes: Sequence[Code], members: Members, sign: int = 1) -> None:
        """Add examples to the sums, or take them out, and nothing else."""
        for sums in self._sums:
            if sign > 0:
                sums.add(codes, members, len(self.labels))
            else:
                sums.subtract(codes, members)

    def merge(self, other: Statistics) -> None:
        """Become the statistics of both sets of examples."""
        is_any_kept = self.features.is_kept or other.features.is_kept
        if is_any_kept or not self.sample.has_room_for(other.sample.num_held):
            self.features.keep()
        self.labels.extend(other.labels.names)
        class_of_other = self.labels.numbers(other.labels.names)
        for mine, theirs in zip(self._sums, other._sums, strict=True):
            mine.merge(theirs, class_of_other.tolist(), len(self.labels))
        self.labels.count(np.repeat(class_of_other, other.labels.counts_C))
        texts = None
        if self.texts is not None and other.texts is not None:
            texts = self.texts.merged(other.texts)
        self.sample.merge(other.sample)
        if self.texts is not None and texts is not None:
            self.texts.replace(texts)

    def resample(self, members: Iterable[Sampled]) -> None:
        """Choose the samples anew from all examples, in any order; their ids may be others now."""
        if self.texts is None:
            self.sample.rebuild(members)
            return
        texts = self.texts.empty()

        def offered() -> Iterator[Sampled]:
            for member in members:
                texts.offer(bare(member))
                yield member

        self.sample.rebuild(offered())
        self.texts.replace(texts)

    def fingerprint(self, identity: Mapping[str, Json]) -> str:
        """SHA-256 (hex) of all this, and of what names the learner."""
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode())
        digest.update(json.dumps(list(self.labels.by_name)).encode())
        order = self.labels.order()
        for sums in self._sums:
            for piece in sums.digested(order):
                digest.update(piece)
        for member in self.sample:
            digest.update(json.dumps([member.id, member.label]).encode())
            digest.update(member.code.dense.tobytes())
            digest.update(member.code.gram_ids.astype("<u4").tobytes())
            digest.update(member.code.gram_values.tobytes())
        for text in () if self.texts is None else self.texts:
            digest.update(json.dumps([text.id, text.label]).encode())
            digest.update(text.code.gram_ids.astype("<u4").tobytes())
            digest.update(text.code.gram_values.tobytes())
        return digest.hexdigest()

    def to_state(self) -> tuple[dict[str, torch.Tensor], dict[str, Json]]:
        """A copy as tensors and JSON."""
        tensors, sample = saved_state.sample_to_state(self.sample, _SAMPLE)
        for sums in self._sums:
            tensors |= sums.tensors()
        data: dict[str, Json] = {
            "format": saved_state.FORMAT,
            "labels": list(self.labels.names),
            "label_counts": self.labels.counts_C.tolist(),
            "sample": sample,
        }
        if self.texts is not None and self.texts.own is not None:
            texts, data["texts"] = saved_state.sample_to_state(self.texts.own, _TEXTS)
            tensors |= texts
        return tensors, data

    def load(self, tensors: Mapping[str, torch.Tensor], data: Mapping[str, Json]) -> None:
        """The inverse of ``to_state``, into statistics of nothing."""
        names = [str(label) for label in data["labels"]]
        saved_state.sample_from_state(self.sample, tensors, data["sample"], _SAMPLE)
        if self.texts is not None and self.texts.own is not None:
            saved_state.sample_from_state(self.texts.own, tensors, data["texts"], _TEXTS)
        for sums in self._sums:
            sums.load(tensors, len(names))
        if "label_counts" in data:
            counts_C = np.array(data["label_counts"], dtype=np.int64)
        else:  # format 1, which always has the sums
            counts_C = tensors["sums.class_counts"].numpy().copy()
        self.labels.load(names, counts_C)
        if not self.features.is_kept:
            classes_N = self._everything()[1].classes_N
            if not self.is_few or (np.bincount(classes_N, minlength=len(names)) != counts_C).any():
                raise ValueError("there are neither the sums nor all examples")
