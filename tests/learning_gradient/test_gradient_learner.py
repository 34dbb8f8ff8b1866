from __future__ import annotations

import json
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import nn

from everlearn.errors import InputError, ModelError, StateError
from everlearn.learning.gradient import GradientConfig, GradientLearner
from everlearn.methods import ExperienceReplay, ReplayConfig
from everlearn.models.encoder.load import Trunk
from everlearn.settings.gradient import OptimizerName
from everlearn.types import Example, Learner, State

TEXTS = {
    "travel": ["i want to fly to rome", "fly to rome today", "i want to fly now"],
    "money": ["pay my bill", "please pay the bill now", "my card is lost"],
    "weather": ["what is the weather", "weather in rome today", "what is the weather now please"],
}


def text_batches(labels: list[str], repeats: int = 1, start: int = 0) -> list[list[Example]]:
    return [
        [
            Example(id=f"{start + repeat}-{label}-{place}", text=text, target=label)
            for label in labels
            for place, text in enumerate(TEXTS[label])
        ]
        for repeat in range(repeats)
    ]


def text_learner(trunk: Trunk, **settings: Any) -> GradientLearner:
    config = GradientConfig(**{"dtype": "float32", "learning_rate": 1e-3, "warmup_steps": 2, **settings})
    return GradientLearner.for_text(
        trunk, config, [ExperienceReplay(ReplayConfig(memory_examples=8, num_replayed=3))]
    )


def vector_learner(**settings: Any) -> GradientLearner:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5))
    config = GradientConfig(learning_rate=1e-2, **settings)
    return GradientLearner.for_vectors(network, 6, config)


def vector_batch(seed: int, labels: str = "abc") -> list[Example]:
    generator = np.random.default_rng(seed)
    return [
        Example(id=f"{seed}-{row}", target=labels[row % len(labels)], vector=generator.normal(size=4))
        for row in range(6)
    ]


def saved_and_loaded(state: State) -> State:
    from safetensors.torch import load, save

    return State(load(save(dict(state.tensors))), json.loads(json.dumps(state.data)))


@pytest.mark.parametrize("trainable", ["all", "head", "embeddings", "layers:1-1", "lora"])
@pytest.mark.parametrize("optimizer", get_args(OptimizerName))
def test_restored_learner_goes_on_to_the_bit(
    tiny_trunk: Trunk, trainable: str, optimizer: OptimizerName
) -> None:
    if trainable == "lora":
        pytest.importorskip("peft")
    settings = {"trainable": trainable, "optimizer": optimizer}
    learner, restored = text_learner(tiny_trunk, **settings), text_learner(tiny_trunk, **settings)
    for batch in text_batches(["travel", "money"], repeats=3):
        learner.learn(batch)
    restored.learn(text_batches(["weather"])[0])
    restored.restore(saved_and_loaded(learner.state()))
    assert restored.labels == learner.labels == ("travel", "money")
    assert restored.fingerprint() == learner.fingerprint()
    for batch in text_batches(["weather", "money"], repeats=3, start=10):
        assert learner.learn(batch) == restored.learn(batch)
    assert restored.fingerprint() == learner.fingerprint()
    for mine, other in zip(learner.predict(batch), restored.predict(batch), strict=True):
        assert np.array_equal(mine.probabilities, other.probabilities)


def test_train_mode_is_restored_with_its_dropout_and_statistics() -> None:
    before = torch.get_rng_state()
    learner, restored = vector_learner(train_mode=True), vector_learner(train_mode=True)
    for seed in range(3):
        learner.learn(vector_batch(seed))
    assert not learner.model.training
    restored.restore(saved_and_loaded(learner.state()))
    for seed in range(3, 6):
        assert learner.learn(vector_batch(seed)) == restored.learn(vector_batch(seed))
    assert learner.fingerprint() == restored.fingerprint()
    assert torch.equal(before, torch.get_rng_state())
    assert any("running_mean" in name for name in learner.state().tensors)
    assert vector_learner(train_mode=True).learn(vector_batch(0)).loss == pytest.approx(np.log(3))
    # Without train mode the statistics stand still and are not saved.
    assert not any("running_mean" in name for name in vector_learner().state().tensors)


def test_learner_is_a_learner_and_reports_its_steps(tiny_trunk: Trunk) -> None:
    learner = text_learner(tiny_trunk)
    assert isinstance(learner, Learner)
    batch = text_batches(["travel", "money"])[0]
    assert [(p.label, len(p.probabilities)) for p in learner.predict(batch)] == [(None, 0)] * 6
    assert learner.predict([]) == []
    assert learner.learn([]).num_learned == 0

    without = [example.with_target(None) for example in batch[:2]]
    report = learner.learn([*without, *batch])
    assert (report.num_learned, report.num_without_target, report.num_replayed) == (6, 2, 0)
    assert report.new_labels == ("travel", "money")
    assert report.loss == pytest.approx(np.log(2))
    report = learner.learn(batch)
    assert (report.new_labels, report.num_replayed) == ((), 3)
    assert learner.learn(without).loss is None
    assert (learner.num_examples, learner.num_steps) == (12, 2)
    for prediction in learner.predict(batch):
        assert prediction.labels == learner.labels
        assert prediction.probabilities.sum() == pytest.approx(1.0)
    assert list(learner.prepare(batch)) == batch


def test_it_learns_and_predicting_changes_nothing(tiny_trunk: Trunk) -> None:
    learner = text_learner(tiny_trunk, learning_rate=3e-3, head_learning_rate=3e-2)
    batches = text_batches(list(TEXTS), repeats=25)
    for batch in batches:
        learner.learn(batch)
    before = learner.fingerprint()
    assert [p.label for p in learner.predict(batches[0])] == [e.target for e in batches[0]]
    assert learner.fingerprint() == before


def test_forget_clears_the_memory_and_is_honest_about_the_weights(tiny_trunk: Trunk) -> None:
    learner = text_learner(tiny_trunk)
    batch = text_batches(["travel", "money"])[0]
    assert learner.forget(batch).exact  # nothing was learned yet
    learner.learn(batch)
    weight = learner.model.head.weight.detach().clone()
    report = learner.forget([*batch[:2], Example(id="never seen")])
    assert (report.num_forgotten, report.exact) == (2, False)
    assert torch.equal(weight, learner.model.head.weight)
    stored = json.dumps(learner.state().data)
    assert batch[0].id not in stored
    assert batch[2].id in stored


def test_input_errors_leave_the_learner_as_it_was() -> None:
    learner = vector_learner(max_classes=3)
    learner.learn(vector_batch(0))
    before = learner.fingerprint()
    good = vector_batch(1)
    for bad, message in (
        (Example(id="no vector", text="hello", target="a"), "'no vector' has no vector"),
        (Example(id="nan", target="a", vector=np.array([1.0, np.nan, 0.0, 0.0])), "'nan' must be"),
        (Example(id="flat", target="a", vector=np.ones((2, 2))), "'flat' must be"),
        (Example(id="long", target="a", vector=np.ones(5)), "'long' has 5 values"),
        (Example(id="new", target="d", vector=np.ones(4)), "max_classes=3"),
    ):
        with pytest.raises(InputError, match=message):
            learner.learn([*good, bad])
    assert learner.fingerprint() == before


def test_divergence_is_an_error_and_keeps_the_weights() -> None:
    config = GradientConfig(optimizer="sgd", learning_rate=1e-3, head_learning_rate=1e-3)
    learner = GradientLearner.for_vectors(nn.Identity(), 2, config)
    huge = np.finfo(np.float32).max / 2
    learner.learn(
        [Example(id="1", target="a", vector=np.ones(2)), Example(id="2", target="b", vector=-np.ones(2))]
    )
    before = learner.model.head.weight.detach().clone()
    with pytest.raises(ModelError, match=r"is (nan|inf)"):
        learner.learn(
            [Example(id=str(row), target="ab"[row % 2], vector=np.full(2, huge)) for row in range(8)]
        )
    assert torch.equal(before, learner.model.head.weight)


def test_wrong_feature_size_is_named() -> None:
    learner = GradientLearner.for_vectors(nn.Linear(4, 6), 5)
    with pytest.raises(ModelError, match=r"\(6, 6\), expected \(6, 5\)"):
        learner.learn(vector_batch(0))


def test_restore_refuses_other_learners(tiny_trunk: Trunk) -> None:
    learner = text_learner(tiny_trunk)
    learner.learn(text_batches(["travel"])[0])
    state = learner.state()
    with pytest.raises(StateError, match="config"):
        text_learner(tiny_trunk, learning_rate=2e-3).restore(state)
    with pytest.raises(StateError, match="body"):
        text_learner(tiny_trunk, max_length=7).restore(state)
    with pytest.raises(StateError, match="kind"):
        learner.restore(State({}, {}))
    with pytest.raises(StateError, match="methods"):
        GradientLearner.for_text(tiny_trunk, learner.config).restore(state)
    cut = {name: tensor for name, tensor in state.tensors.items() if name != "weights/head.bias"}
    with pytest.raises(StateError, match=r"head\.bias"):
        text_learner(tiny_trunk).restore(State(cut, state.data))
    with pytest.raises(StateError, match=r"head\.weight"):
        text_learner(tiny_trunk).restore(State(state.tensors, {**state.data, "labels": ["travel", "money"]}))
    with pytest.raises(StateError, match="damaged"):
        text_learner(tiny_trunk).restore(
            State(state.tensors, {key: value for key, value in state.data.items() if key != "num_steps"})
        )


def test_vector_state_fits_a_network_that_started_elsewhere_if_all_is_trained() -> None:
    first = GradientLearner.for_vectors(nn.Linear(4, 6), 6)
    first.learn(vector_batch(0))
    second = GradientLearner.for_vectors(nn.Linear(4, 6), 6)
    second.restore(first.state())
    assert second.fingerprint() == first.fingerprint()
    frozen = GradientConfig(trainable="head")
    with pytest.raises(StateError, match="body"):
        GradientLearner.for_vectors(nn.Linear(4, 6), 6, frozen).restore(
            GradientLearner.for_vectors(nn.Linear(4, 6), 6, frozen).state()
        )
