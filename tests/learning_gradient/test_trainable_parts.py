"""Each choice of trainable parts changes these and the head, and nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import nn

from everlearn.errors import ConfigError
from everlearn.learning.gradient import GradientConfig, GradientLearner
from everlearn.models.encoder.load import Trunk
from everlearn.types import Example

BATCH = [
    Example(id="1", text="i want to fly to rome", target="travel"),
    Example(id="2", text="pay my bill", target="money"),
    Example(id="3", text="what is the weather in rome today please", target="weather"),
]


def changed_weights(trunk: Trunk, trainable: str) -> tuple[set[str], GradientLearner]:
    config = GradientConfig(
        trainable=trainable, dtype="float32", learning_rate=1e-2, warmup_steps=0, weight_decay=0.1
    )
    learner = GradientLearner.for_text(trunk, config)
    network = learner.model.body.network
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    for _ in range(3):
        learner.learn(BATCH)
    assert learner.model.head.weight.abs().min() > 0
    after = dict(network.named_parameters())
    return {name for name in before if not torch.equal(before[name], after[name])}, learner


@pytest.mark.parametrize(
    ("trainable", "belongs"),
    [
        ("head", lambda name: False),
        ("embeddings", lambda name: name.startswith("embeddings.")),
        ("layers:0-0", lambda name: name.startswith("encoder.layer.0.")),
        ("layers:1-1", lambda name: name.startswith("encoder.layer.1.")),
        ("layers:0-1", lambda name: name.startswith("encoder.layer.")),
        # The pooler takes no part in the features.
        ("all", lambda name: not name.startswith("pooler.")),
    ],
)
def test_only_the_chosen_part_changes(
    tiny_trunk: Trunk, trainable: str, belongs: Callable[[str], bool]
) -> None:
    originals = {name: weight.clone() for name, weight in tiny_trunk.model.named_parameters()}
    changed, learner = changed_weights(tiny_trunk, trainable)
    # The gradient of key biases is zero: they shift all scores of a query alike.
    expected = {name for name in originals if belongs(name) and not name.endswith("key.bias")}
    assert expected <= changed
    assert all(belongs(name) for name in changed)
    # The trunk itself may be shared and is never touched.
    assert all(torch.equal(weight, originals[name]) for name, weight in tiny_trunk.model.named_parameters())
    saved = [name for name in learner.state().tensors if name.startswith("weights/")]
    assert len(saved) == 2 + sum(belongs(name) or (trainable == "all") for name in originals)


def test_lora_leaves_base_weights_and_merges_into_them(tiny_trunk: Trunk) -> None:
    pytest.importorskip("peft")
    originals = {name: weight.clone() for name, weight in tiny_trunk.model.named_parameters()}
    changed, learner = changed_weights(tiny_trunk, "lora")
    assert changed
    assert all("lora_" in name for name in changed)
    after = {
        name.replace(".base_layer", ""): weight
        for name, weight in learner.model.body.network.named_parameters()
        if "lora_" not in name
    }
    assert after.keys() == originals.keys()
    assert all(torch.equal(after[name], originals[name]) for name in originals)
    saved = [name for name in learner.state().tensors if name.startswith("weights/body")]
    assert saved
    assert all("lora_" in name for name in saved)


def test_lora_starts_alike_and_restores(tiny_trunk: Trunk) -> None:
    pytest.importorskip("peft")
    before = torch.get_rng_state()
    _, first = changed_weights(tiny_trunk, "lora")
    _, second = changed_weights(tiny_trunk, "lora")
    assert torch.equal(before, torch.get_rng_state())
    assert first.fingerprint() == second.fingerprint()
    first.learn(BATCH)
    second.restore(first.state())
    assert first.fingerprint() == second.fingerprint()


def test_missing_parts_are_errors(tiny_trunk: Trunk) -> None:
    with pytest.raises(ConfigError, match=r"layers 0 to 1, not 'layers:1-2'"):
        GradientLearner.for_text(tiny_trunk, GradientConfig(trainable="layers:1-2"))
    with pytest.raises(ConfigError, match="embedding"):
        GradientLearner.for_vectors(nn.Linear(3, 3), 3, GradientConfig(trainable="embeddings"))
    with pytest.raises(ConfigError, match="layers"):
        GradientLearner.for_vectors(nn.Linear(3, 3), 3, GradientConfig(trainable="layers:0-0"))
    pytest.importorskip("peft")
    with pytest.raises(ConfigError, match="no_such_module"):
        GradientLearner.for_text(
            tiny_trunk, GradientConfig(trainable="lora", lora_modules=("no_such_module",))
        )


def test_a_trunk_in_bfloat16_is_trained_in_float32(tiny_trunk: Trunk) -> None:
    import copy

    reduced = dataclasses.replace(
        tiny_trunk, model=copy.deepcopy(tiny_trunk.model).bfloat16(), dtype=torch.bfloat16
    )
    learner = GradientLearner.for_text(reduced, GradientConfig(dtype="bfloat16"))
    learner.learn(BATCH)
    assert {weight.dtype for weight in learner.model.parameters()} == {torch.float32}
    assert sum(learner.predict(BATCH)[0].probabilities) == pytest.approx(1.0)
