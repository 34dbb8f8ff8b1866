"""Each choice of a trained part changes these weights and nothing else."""

from __future__ import annotations

import re

import pytest
import torch
from tests.learning_seq2seq.conftest import MakeModel
from tests.learning_seq2seq.pairs_of_words import batches

from everlearn.errors import ConfigError
from everlearn.learning.gradient import GradientConfig
from everlearn.learning.seq2seq import Seq2SeqConfig, Seq2SeqLearner

# Key biases shift all scores of a query alike, so their gradient is zero but for rounding.
_NO_GRADIENT = re.compile(r"k_proj\.bias$")


def changed_weights(make_model: MakeModel, kind: str, trainable: str) -> tuple[set[str], set[str]]:
    """Names of the weights that three steps changed, and of all."""
    optimization = GradientConfig(
        trainable=trainable, dtype="float32", learning_rate=1e-2, warmup_steps=0, weight_decay=0.1
    )
    learner = Seq2SeqLearner(make_model(kind), Seq2SeqConfig(optimization=optimization))
    before = {name: weight.detach().clone() for name, weight in learner.model.named_parameters()}
    for batch in batches(3):
        learner.learn(batch)
    after = dict(learner.model.named_parameters())
    return {name for name in before if not torch.equal(before[name], after[name])}, set(before)


@pytest.mark.parametrize(
    ("kind", "trainable", "belongs"),
    [
        ("marian", "embeddings", r"^model\.shared\."),
        ("marian", "encoder", r"^model\.encoder\.layers\."),
        ("marian", "decoder", r"^model\.decoder\.layers\."),
        ("marian", "layers:1-1", r"^model\.(en|de)coder\.layers\.1\."),
        ("marian", "layers:0-1", r"^model\.(en|de)coder\.layers\."),
        ("marian", "all", r"^model\.(shared|(en|de)coder\.layers)\."),
        ("t5", "embeddings", r"^shared\."),
        ("t5", "encoder", r"^encoder\.(block|final)"),
        ("t5", "decoder", r"^decoder\.(block|final)"),
        ("t5", "layers:0-0", r"^(en|de)coder\.block\.0\."),
        ("t5", "all", ""),
    ],
)
def test_only_the_chosen_part_changes(make_model: MakeModel, kind: str, trainable: str, belongs: str) -> None:
    changed, names = changed_weights(make_model, kind, trainable)
    expected = {name for name in names if re.search(belongs, name)}
    assert changed <= expected
    assert expected <= changed | {name for name in names if _NO_GRADIENT.search(name)}


@pytest.mark.parametrize(
    ("trainable", "belongs"),
    [("lora", r"layers\.[01]\..*lora_"), ("lora:1-1", r"(en|de)coder\.layers\.1\..*lora_")],
)
def test_adapters_alone_change(make_model: MakeModel, trainable: str, belongs: str) -> None:
    pytest.importorskip("peft")
    changed, names = changed_weights(make_model, "marian", trainable)
    assert changed == {name for name in names if "lora_" in name}
    assert all(re.search(belongs, name) for name in changed)
    assert {"encoder", "decoder"} <= {part for name in changed for part in name.split(".")}


def test_layers_that_are_not_there_are_refused(make_model: MakeModel) -> None:
    for trainable in ("layers:1-2", "layers:5-6", "lora:2-3"):
        optimization = GradientConfig(trainable=trainable)
        with pytest.raises(ConfigError, match="layers 0 to 1"):
            Seq2SeqLearner(make_model(), Seq2SeqConfig(optimization=optimization))
