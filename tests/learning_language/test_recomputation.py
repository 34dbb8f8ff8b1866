"""Layers that are computed again go on from the same context; parts of a model in reduced precision run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.context.tiny_models import falcon_mamba, gpt2, llama, mamba, mamba2, rwkv
from tests.learning_language.conftest import byte_tokenizer
from torch import nn

from everlearn.context import CarryConfig
from everlearn.learning.gradient import GradientConfig
from everlearn.learning.language import LanguageConfig, LanguageLearner
from everlearn.models.language.causal import LanguageModel
from everlearn.types import Example

_WIDE = {"vocab_size": 258}
_TEXTS = [bytes(np.random.default_rng(k).integers(97, 123, 60).tolist()).decode() for k in range(3)]


def _learner(model: nn.Module, trainable: str = "all", **settings: Any) -> LanguageLearner:
    optimization = GradientConfig(
        trainable=trainable,
        optimizer="sgd",
        learning_rate=0.05,
        warmup_steps=0,
        dtype=settings.pop("dtype", "float32"),
    )
    config = LanguageConfig(
        num_lanes=2,
        chunk_length=16,
        tokens_per_step=64,
        carry=CarryConfig(window=None, gradient_chunks=settings.pop("gradient_chunks", 0)),
        optimization=optimization,
        **settings,
    )
    return LanguageLearner(LanguageModel(model, byte_tokenizer(), "tiny", "", None), config)


def _learn(learner: LanguageLearner) -> dict[str, torch.Tensor]:
    for k, text in enumerate(_TEXTS):
        learner.learn([Example(id=str(k), text=text)])
    learner.settle()
    return {name: one.detach() for name, one in learner.training.parameters.items()}


@pytest.mark.parametrize("make", [llama, mamba, mamba2, falcon_mamba, rwkv])
@pytest.mark.parametrize("gradient_chunks", [0, 1])
def test_recomputation_with_carried_context_changes_nothing(make: Any, gradient_chunks: int) -> None:
    usual = _learn(_learner(make(**_WIDE), gradient_chunks=gradient_chunks))
    again = _learn(_learner(make(**_WIDE), gradient_chunks=gradient_chunks, gradient_checkpointing=True))
    for name, weight in usual.items():
        torch.testing.assert_close(again[name], weight, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("make", [llama, gpt2, mamba])
def test_some_layers_in_reduced_precision(make: Any) -> None:
    learner = _learner(make(**_WIDE), "layers:0-0", dtype="bfloat16")
    (before,) = learner.score([Example(id="a", text=_TEXTS[0])])
    exact = _learner(make(**_WIDE), "layers:0-0").score([Example(id="a", text=_TEXTS[0])])
    assert before.nats == pytest.approx(exact[0].nats, rel=0.02)
    _learn(learner)
    (after,) = learner.score([Example(id="a", text=_TEXTS[0])])
    assert after.nats < before.nats
