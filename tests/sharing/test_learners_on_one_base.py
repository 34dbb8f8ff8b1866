"""Language models that learn with adapters on one base: each as if it were alone, the base as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from tests.families.table import FAMILIES, build
from tests.models.tiny_models import TEXTS, byte_level_tokenizer

from everlearn.context import CarryConfig
from everlearn.learning.gradient import GradientConfig
from everlearn.learning.language import LanguageConfig, LanguageLearner
from everlearn.models.language.causal import load_language_model
from everlearn.models.storage.skeleton import structural_copy
from everlearn.sharing.trunk_store import TrunkStore
from everlearn.types import Example


def test_learners_on_one_base_are_as_if_alone(tmp_path: Path) -> None:
    build(FAMILIES["llama tied, biases"], tmp_path / "model", byte_level_tokenizer())
    settings = GradientConfig(trainable="lora", lora_rank=2, learning_rate=0.01, dtype="float32")
    config = LanguageConfig(
        num_lanes=2, chunk_length=16, tokens_per_step=32, carry=CarryConfig(window=32), optimization=settings
    )

    def losses(learner: LanguageLearner, name: str) -> list[float]:
        torch.manual_seed(0)
        found = []
        for turn in range(3):
            texts = [f"{name} {text}" for text in TEXTS[:4]]
            examples = [Example(id=f"{name}-{turn}-{k}", text=text) for k, text in enumerate(texts)]
            found += [loss.nats for loss in learner.learn(examples).text_losses]
        return found

    def made(model: torch.nn.Module) -> LanguageLearner:
        torch.manual_seed(1)  # adapters begin at random
        return LanguageLearner(replace(base, model=model), config)

    alone = {}
    for name in ("one", "other"):
        base = load_language_model(str(tmp_path / "model"), dtype="float32")
        alone[name] = losses(made(base.model), name)
    base = TrunkStore(tmp_path / "store").language_model(str(tmp_path / "model"), dtype="float32")
    before = {name: weight.clone() for name, weight in base.model.named_parameters()}
    learners = {name: made(structural_copy(base.model)) for name in ("one", "other")}
    together = {name: losses(learner, name) for name, learner in learners.items()}
    assert together == alone
    assert alone["one"] != alone["other"]
    own = {weight.data_ptr() for weight in base.model.parameters()}
    for learner in learners.values():
        assert own <= {weight.data_ptr() for weight in learner.model.parameters()}
    for name, weight in base.model.named_parameters():
        assert torch.equal(weight, before[name])
