"""Counts how often each word had each tag."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from everlearn.errors import InputError
from everlearn.learning.run_learner import RunLearner
from everlearn.types import Example, ForgetReport, Prediction, State, StepReport

__all__ = ["TagCounts", "TagPredictor"]


class TagPredictor:
    """Gives each word the tag that it had most often, unknown words the most frequent one."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        self._counts = dict(counts)

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        return [self._predicted((example.text or "").split()) for example in examples]

    def _predicted(self, words: Sequence[str]) -> Prediction:
        if not self._counts:
            return Prediction(None, (), np.zeros(0))
        by_word: dict[str, Counter[str]] = {}
        everything: Counter[str] = Counter()
        for pair, count in sorted(self._counts.items()):
            word, tag = pair.split("\t")
            by_word.setdefault(word, Counter())[tag] += count
            everything[tag] += count
        tags = [by_word.get(word, everything).most_common(1)[0][0] for word in words]
        return Prediction(" ".join(tags), (" ".join(tags),), np.array([1.0]))


class TagCounts(RunLearner):
    """The learner: a count for each pair of word and tag, so forgetting is subtraction."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._num_examples = 0

    @property
    def labels(self) -> tuple[str, ...]:
        return ()

    @property
    def num_examples(self) -> int:
        return self._num_examples

    @property
    def reads_text(self) -> bool:
        return True

    def prepare(self, examples: Sequence[Example]) -> Sequence[Example]:
        return examples

    def reading_problem(self, example: Example) -> str | None:
        words, tags = (example.text or "").split(), (example.target or "").split()
        if example.target is None or len(words) == len(tags):
            return None
        return f"it has {len(words)} words and {len(tags)} tags"

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        return TagPredictor(self._counts).predict(examples)

    def learn(self, examples: Sequence[Example]) -> StepReport:
        known = [example for example in examples if example.target is not None]
        for example in known:
            self._counts.update(_pairs(example))
        self._num_examples += len(known)
        return StepReport(num_learned=len(known), num_without_target=len(examples) - len(known))

    def forget(self, examples: Sequence[Example]) -> ForgetReport:
        for example in examples:
            self._counts.subtract(_pairs(example))
        self._counts = +self._counts
        self._num_examples -= len(examples)
        return ForgetReport(num_forgotten=len(examples))

    def state(self) -> State:
        data = {"counts": dict(sorted(self._counts.items())), "num_examples": self._num_examples}
        return State({}, data)

    def restore(self, state: State) -> None:
        self._counts, self._num_examples = Counter(state.data["counts"]), state.data["num_examples"]

    def fingerprint(self) -> str:
        return hashlib.sha256(json.dumps(self.state().data).encode()).hexdigest()

    def frozen(self) -> TagPredictor:
        return TagPredictor(self._counts)

    def snapshot(self) -> TagPredictor:
        return self.frozen()


def _pairs(example: Example) -> list[str]:
    words, tags = (example.text or "").split(), (example.target or "").split()
    if len(words) != len(tags):
        raise InputError(f"example {example.id!r}: {len(words)} words and {len(tags)} tags")
    return [f"{word}\t{tag}" for word, tag in zip(words, tags, strict=True)]
