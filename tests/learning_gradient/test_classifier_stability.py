"""Averaged weights and the guard against loss spikes of a classifier whose labels come in the stream."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from everlearn.errors import StateError
from everlearn.learning.gradient import GradientConfig, GradientLearner, StabilityConfig
from everlearn.types import Example, State

AVERAGING = StabilityConfig(average_decay=0.9)
GUARDED = StabilityConfig(spike_deviations=3.0, spike_warmup_steps=4)
BOTH = StabilityConfig(average_decay=0.9, spike_deviations=3.0, spike_warmup_steps=4)
PLACES = {"north": (0.0, 1.0), "east": (1.0, 0.0), "south": (0.0, -1.0), "west": (-1.0, 0.0)}


def learner(stability: StabilityConfig | None = None, optimizer: str = "adamw") -> GradientLearner:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(2, 6), nn.Tanh())
    config = GradientConfig(
        optimizer=optimizer,  # type: ignore[arg-type]
        learning_rate=2e-2,
        head_learning_rate=5e-2,
        warmup_steps=0,
    )
    return GradientLearner.for_vectors(network, 6, config, stability=stability)


def batch(seed: int, labels: Sequence[str] = ("north", "east"), *, swapped: bool = False) -> list[Example]:
    generator = np.random.default_rng(seed)
    targets = list(reversed(labels)) if swapped else labels
    return [
        Example(
            id=f"{seed}-{row}",
            target=targets[row % len(labels)],
            vector=np.array(PLACES[labels[row % len(labels)]]) + 0.1 * generator.normal(size=2),
        )
        for row in range(8)
    ]


def weights(of: GradientLearner) -> dict[str, torch.Tensor]:
    return {name: one.detach().clone() for name, one in of.model.named_parameters()}


def trained(stability: StabilityConfig) -> GradientLearner:
    made = learner(stability)
    for seed in range(30):
        made.learn(batch(seed))
    return made


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adagrad", "adamw"])
def test_predictions_are_averaged_and_training_goes_on_with_the_raw_weights(optimizer: str) -> None:
    averaged, plain = learner(AVERAGING, optimizer), learner(optimizer=optimizer)
    means: dict[str, torch.Tensor] = {}
    born = {"north": 0, "east": 0, "south": 10}
    for seed in range(20):
        step_batch = batch(seed, ("north", "east", "south") if seed >= 10 else ("north", "east"))
        before = weights(plain)
        assert averaged.learn(step_batch) == plain.learn(step_batch)
        for name, weight in weights(plain).items():
            start = means.get(name, before[name])
            ages = torch.full((1,), seed + 1)
            if name.startswith("head."):
                start = torch.cat([start, weight.new_zeros(len(weight) - len(start), *weight.shape[1:])])
                ages = torch.tensor([seed + 1 - born[label] for label in plain.labels])
            decay = ((1 + ages) / (10 + ages)).clamp(max=0.9).view(-1, *[1] * (weight.ndim - 1))
            means[name] = decay * start + (1 - decay) * weight
    assert all(torch.equal(weights(plain)[name], weight) for name, weight in weights(averaged).items())
    with averaged.training.averaged():
        torch.testing.assert_close(weights(averaged), means)
    served, frozen = averaged.predict(batch(99)), averaged.frozen()
    plain.model.load_state_dict(means)
    for mine, other, raw in zip(served, frozen.predict(batch(99)), plain.predict(batch(99)), strict=True):
        assert np.array_equal(mine.probabilities, other.probabilities)
        np.testing.assert_allclose(mine.probabilities, raw.probabilities, rtol=1e-5)
    averaged.learn(batch(100))
    again = frozen.predict(batch(99))
    assert [one.probabilities.tolist() for one in again] == [one.probabilities.tolist() for one in served]


def test_a_label_that_comes_late_is_predicted_soon_though_averages_are_long() -> None:
    made = trained(StabilityConfig(average_decay=0.9999))
    made.training.num_steps = 100_000  # as if the stream had been long
    for seed in range(30, 70):
        made.learn(batch(seed, tuple(PLACES)))
    predictions = made.predict(batch(1, ("south", "west")))
    assert [one.label for one in predictions] == ["south", "west"] * 4
    # With the averages of the other rows it would be 0.25, as little as before anything was learned of them.
    assert all(one.probabilities.max() > 0.4 for one in predictions)


def test_a_spike_is_left_out_and_told() -> None:
    made = trained(BOTH)
    before = made.state()
    report = made.learn(batch(30, swapped=True))
    assert report.skipped is not None
    assert report.skipped.startswith("loss spike: ")
    assert report.loss is not None
    assert report.gradient_norm is not None
    assert (report.num_learned, made.num_examples, made.num_steps) == (8, 31 * 8, 31)
    after = made.state()
    assert all(torch.equal(tensor, after.tensors[name]) for name, tensor in before.tensors.items())
    assert made.learn(batch(31)).skipped is None
    assert learner().learn(batch(0)).skipped is None


def test_a_step_with_new_labels_is_no_spike_and_neither_are_those_that_learn_them() -> None:
    made = trained(GUARDED)
    labels = ("north", "east", "south", "west")
    report = made.learn(batch(30, labels))
    assert (report.new_labels, report.skipped) == (("south", "west"), None)
    reports = [made.learn(batch(seed, labels)) for seed in range(31, 61)]
    assert not any(one.skipped for one in reports)
    assert reports[-1].loss is not None
    assert reports[-1].loss < 0.2
    swapped = made.learn(batch(61, labels, swapped=True))
    assert swapped.skipped is not None  # what is usual has been learned anew


@pytest.mark.parametrize("stability", [AVERAGING, GUARDED, BOTH])
def test_a_restored_learner_goes_on_to_the_bit(stability: StabilityConfig) -> None:
    made, restored = trained(stability), learner(stability)
    made.learn(batch(30, tuple(PLACES)))
    restored.learn(batch(0, ("west",)))
    state = made.state()
    restored.restore(State(load(save(dict(state.tensors))), json.loads(json.dumps(state.data))))
    assert restored.fingerprint() == made.fingerprint()
    for seed in range(31, 45):
        step_batch = batch(seed, tuple(PLACES), swapped=seed == 40)
        assert made.learn(step_batch) == restored.learn(step_batch)
    assert restored.fingerprint() == made.fingerprint()
    for one, other in zip(made.predict(batch(1)), restored.predict(batch(1)), strict=True):
        assert np.array_equal(one.probabilities, other.probabilities)


def test_a_state_without_stability_has_no_entry_of_it() -> None:
    plain, made = learner(), learner(BOTH)
    for one in (plain, made):
        one.learn(batch(0))
    assert {"stability", "spikes"}.isdisjoint(plain.state().data)
    assert not any(name.startswith("average/") for name in plain.state().tensors)
    assert {"stability", "spikes"} <= made.state().data.keys()
    with pytest.raises(StateError, match="stability"):
        plain.restore(made.state())
    with pytest.raises(StateError, match="stability"):
        made.restore(plain.state())
    state = made.state()
    with pytest.raises(StateError, match="averages"):
        made.restore(
            State({name: one for name, one in state.tensors.items() if "rows_since" not in name}, state.data)
        )
    with pytest.raises(StateError, match="damaged"):
        made.restore(State(state.tensors, {k: v for k, v in state.data.items() if k != "spikes"}))
