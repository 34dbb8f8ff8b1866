"""A replay memory holds as many examples as were asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from everlearn.memory import ModelExample, ReservoirMemory
from everlearn.memory.model_example import part_id
from everlearn.methods.registry import create_method
from everlearn.methods.replay import ExperienceReplay
from everlearn.settings import RunConfig
from everlearn.tasks.classification.gradient import gradient_methods
from everlearn.tasks.language.learner import language_methods
from everlearn.tasks.translation.learner import seq2seq_methods

METHODS = {"classify": gradient_methods, "lm": language_methods, "seq2seq": seq2seq_methods}
CONTEXTS: list[tuple[dict[str, Any], int, int]] = [
    ({"learner.kind": "gradient"}, 256, 0),
    ({"learner.kind": "gradient", "model.max_length": 2_048}, 2_048, 0),
    ({"task": "lm"}, 256, 0),
    ({"task": "lm", "learner.language.chunk_length": 1_024}, 1_024, 0),
    ({"task": "seq2seq"}, 512, 2_000),
    ({"task": "seq2seq", "learner.translation.max_source_length": 900}, 900, 2_000),
]


@pytest.mark.parametrize("size", [100, 200_000])
@pytest.mark.parametrize(("given", "tokens", "target_bytes"), CONTEXTS)
def test_the_longest_examples_fit_in_the_number_asked_for(
    given: dict[str, Any], tokens: int, target_bytes: int, size: int
) -> None:
    config = RunConfig().with_settings(given | {"learner.gradient.replay": size})
    (settings,) = METHODS[config.task](config).values()
    method = create_method("replay", settings)
    assert isinstance(method, ExperienceReplay)
    memory = method.memory
    assert isinstance(memory, ReservoirMemory)
    longest = ModelExample(
        part_id("a-file-of-usual-name:1234567", 1_000),
        "t" * target_bytes,
        np.zeros(tokens, np.int32),
        "domain",
    )
    assert memory.max_examples == size
    assert memory.max_bytes >= size * longest.num_bytes


def test_a_small_memory_is_bounded_as_ever() -> None:
    config = RunConfig().with_settings({"task": "lm", "learner.gradient.replay": 2_000})
    assert "memory_bytes" not in METHODS[config.task](config)["replay"]
