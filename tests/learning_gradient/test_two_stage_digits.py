"""The classic exercise: learn some digits, then the others, test on all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from everlearn.learning import method as method_module
from everlearn.learning.gradient import GradientConfig, GradientLearner
from everlearn.methods import ExperienceReplay, ReplayConfig
from everlearn.types import Example


def digits() -> tuple[list[Example], list[Example]]:
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    examples = [
        Example(id=str(place), target=str(data.target[place]), vector=data.data[place] / 16.0)
        for place in order
    ]
    return examples[:1_300], examples[1_300:]


def accuracy(learner: GradientLearner, examples: Sequence[Example]) -> float:
    predictions = learner.predict(examples)
    return float(np.mean([p.label == e.target for p, e in zip(predictions, examples, strict=True)]))


def two_stages(methods: Sequence[method_module.Method]) -> tuple[float, float, float]:
    """Accuracy on the first digits after stage 1, and on the first and second digits after stage 2."""
    train, test = digits()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(64, 64), nn.ReLU())
    config = GradientConfig(learning_rate=5e-3, head_learning_rate=5e-3, warmup_steps=0)
    learner = GradientLearner.for_vectors(network, 64, config, methods)
    first, second = "01234", "56789"
    test_first = [example for example in test if example.target in list(first)]
    test_second = [example for example in test if example.target in list(second)]
    after_first = 0.0
    for stage in (first, second):
        stream = [example for example in train if example.target in list(stage)]
        for at in range(0, len(stream), 8):
            learner.learn(stream[at : at + 8])
        if stage == first:
            after_first = accuracy(learner, test_first)
    return after_first, accuracy(learner, test_first), accuracy(learner, test_second)


def test_fine_tuning_forgets() -> None:
    after_first, first, second = two_stages([])
    assert after_first > 0.95
    assert first < 0.3
    assert second > 0.9


def test_replay_keeps_most() -> None:
    replay = ExperienceReplay(ReplayConfig(memory_examples=200, num_replayed=16))
    after_first, first, second = two_stages([replay])
    assert after_first > 0.95
    assert first > 0.8
    assert second > 0.9
    assert len(replay.memory) == 200
