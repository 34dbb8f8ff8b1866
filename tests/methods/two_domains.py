"""A stream of two domains for tiny language models: words, and which of them follow which."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from safetensors.torch import load, save
from tests.learning_language.conftest import tiny_language_model
from torch import Tensor

from everlearn.learning.gradient import GradientConfig
from everlearn.learning.language import LanguageConfig, LanguageLearner
from everlearn.learning.method import Method
from everlearn.models.language.causal import LanguageModel
from everlearn.types import Boundary, Example, State

WORDS = {
    "first": ("cat", "dog", "mat", "sits", "on", "the", "runs", "to"),
    "second": ("12", "7+", "90", "=", "31", "x", "45-", "8"),
}
BOUNDARY = Boundary(reason="experience", num_examples=0, name="first")


def saved_and_loaded(state: State) -> State:
    return State(load(save(dict(state.tensors))), json.loads(json.dumps(state.data)))


def texts(domain: str, seed: int, count: int = 4) -> list[Example]:
    generator, words = np.random.default_rng(seed), WORDS[domain]
    examples = []
    for number in range(count):
        place, chosen = 0, [words[0]]
        for _ in range(11):
            place = (3 * place + int(generator.integers(1, 3))) % len(words)
            chosen.append(words[place])
        examples.append(Example(id=f"{domain}-{seed}-{number}", text=" ".join(chosen), domain=domain))
    return examples


def config(**settings: Any) -> LanguageConfig:
    values = {"learning_rate": 3e-3, "warmup_steps": 0, "dtype": "float32", **settings}
    return LanguageConfig(
        num_lanes=4, chunk_length=32, tokens_per_step=128, optimization=GradientConfig(**values)
    )


@cache
def _pretrained_weights() -> dict[str, Tensor]:
    """A model that knows all the words, in any order."""
    language_model = tiny_language_model()
    learner = LanguageLearner(language_model, config())
    words = WORDS["first"] + WORDS["second"]
    for step in range(60):
        chosen = np.random.default_rng(step).choice(words, (4, 11))
        learner.learn([Example(id=f"{step}-{k}", text=" ".join(row)) for k, row in enumerate(chosen)])
    return {name: tensor.clone() for name, tensor in language_model.model.state_dict().items()}


def pretrained() -> LanguageModel:
    language_model = tiny_language_model()
    language_model.model.load_state_dict(_pretrained_weights())
    return language_model


def loss_of(learner: LanguageLearner, domain: str) -> float:
    (loss,) = learner.score(texts(domain, seed=9_999, count=6))
    return loss.nats / loss.tokens


def learn(learner: LanguageLearner, domain: str, batches: Sequence[int]) -> None:
    for seed in batches:
        learner.learn(texts(domain, seed))


def losses_of_two_domains(methods: Sequence[Method], **settings: Any) -> tuple[float, float, float]:
    """Loss of the first domain when it is learned, and of both when the second is learned too."""
    learner = LanguageLearner(pretrained(), config(**settings), methods)
    learn(learner, "first", range(16))
    learner.settle()
    first = loss_of(learner, "first")
    learner.on_boundary(BOUNDARY)
    learn(learner, "second", range(16))
    learner.settle()
    return first, loss_of(learner, "first"), loss_of(learner, "second")


@cache
def plain_losses(**settings: Any) -> tuple[float, float, float]:
    """The same without a method."""
    return losses_of_two_domains([], **settings)
