"""The two-stage exercise on scikit-learn's digits: 0-4 first, then 5-9, tested on both."""

from __future__ import annotations

import numpy as np
import pytest

from everlearn.learning import ClosedFormConfig, ClosedFormLearner
from everlearn.models import VectorCoder
from everlearn.types import Example

datasets = pytest.importorskip("sklearn.datasets", reason="the digits come with scikit-learn")


def accuracy(learner: ClosedFormLearner, examples: list[Example]) -> float:
    return float(
        np.mean([p.label == e.target for p, e in zip(learner.predict(examples), examples, strict=True)])
    )


def test_the_second_stage_takes_nothing_from_the_first() -> None:
    digits = datasets.load_digits()
    examples = [
        Example(id=str(k), vector=vector, target=str(label))
        for k, (vector, label) in enumerate(zip(digits.data, digits.target, strict=True))
    ]
    train, test = examples[:1200], examples[1200:]
    low, high = set("01234"), set("56789")
    config = ClosedFormConfig.of_size(1024)
    learner = ClosedFormLearner(VectorCoder(64), config)
    learner.learn([e for e in train if e.target in low])
    learner.settle()
    first_test = [e for e in test if e.target in low]
    before = accuracy(learner, first_test)
    learner.learn([e for e in train if e.target in high])
    learner.settle()
    assert before > 0.95
    assert accuracy(learner, first_test) > before - 0.05
    assert accuracy(learner, test) > 0.93
    joint = ClosedFormLearner(VectorCoder(64), config)
    joint.learn(train)
    assert joint.fingerprint() == learner.fingerprint()
