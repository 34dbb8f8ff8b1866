"""Averaged weights and the guard against loss spikes, against direct computation."""

import pytest
import torch
from torch import nn

from everlearn.errors import ConfigError, StateError
from everlearn.learning.gradient.averaged_weights import AveragedWeights
from everlearn.learning.gradient.spike_guard import SpikeGuard
from everlearn.learning.gradient.stability import StabilityConfig


def test_the_average_is_the_recursion_of_its_definition() -> None:
    weight = nn.Parameter(torch.zeros(3, dtype=torch.float64))
    average = AveragedWeights({"w": weight}, 0.9)
    expected = torch.zeros(3, dtype=torch.float64)
    for step in range(1, 40):
        with torch.no_grad():
            weight.copy_(torch.full((3,), float(step)))
        average.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    torch.testing.assert_close(average.tensors()["w"], expected)
    with average.applied():
        torch.testing.assert_close(weight.detach(), expected)
    assert torch.equal(weight.detach(), torch.full((3,), 39.0, dtype=torch.float64))


def test_a_row_that_comes_late_has_a_start_of_its_own() -> None:
    grown, alone = (nn.Parameter(torch.zeros(1, 2, dtype=torch.float64)) for _ in range(2))
    bias = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    average = AveragedWeights({"w": grown, "b": bias}, 0.999, growing=("w", "b"))
    new = AveragedWeights({"w": alone}, 0.999)
    old = AveragedWeights({"w": (first := nn.Parameter(torch.zeros(1, 2, dtype=torch.float64)))}, 0.999)
    for step in range(1, 300):
        if step == 200:
            grown.data = torch.cat([grown.data, grown.data.new_zeros(1, 2)])
            bias.data = torch.cat([bias.data, bias.data.new_zeros(1)])
            average.grow(199)
        for weight in (grown, bias, alone, first):
            weight.data.fill_(float(step))
        average.update(step)
        old.update(step)
        if step >= 200:
            new.update(step - 199)
    tensors = average.tensors()
    torch.testing.assert_close(tensors["w"][0], old.tensors()["w"][0])
    torch.testing.assert_close(tensors["w"][1], new.tensors()["w"][0])
    torch.testing.assert_close(tensors["b"], tensors["w"][:, 0])
    assert tensors["b"][1] > 200  # of the label's own steps, not of the zeros before


def test_without_a_decay_nothing_is_kept() -> None:
    average = AveragedWeights({"w": nn.Parameter(torch.ones(2))}, None)
    average.update(1)
    assert average.tensors() == {}
    with pytest.raises(StateError, match="of another model"):
        average.load({"w": torch.ones(2)})


def _guard() -> SpikeGuard:
    return SpikeGuard(StabilityConfig(spike_deviations=4.0, spike_warmup_steps=5))


def test_a_spike_is_refused_and_hardly_moves_the_mean() -> None:
    guard = _guard()
    for loss in (3.0, 3.2, 2.8, 3.1, 2.9, 3.0):
        assert guard.refuse(loss) is None
    reason = guard.refuse(50.0)
    assert reason is not None
    assert reason.startswith("loss spike: 50.000 nats, where 3.000")
    assert guard.refuse(3.1) is None


def test_a_loss_that_stays_high_is_taken_for_what_it_is_in_the_end() -> None:
    guard = _guard()
    for _ in range(10):
        guard.refuse(2.0)
    refused = [guard.refuse(6.0) is not None for _ in range(200)]
    assert refused[0]
    assert not refused[-1]


def test_a_guard_goes_on_from_its_state() -> None:
    one, other = _guard(), _guard()
    for loss in (3.0, 3.5, 2.5, 3.0, 3.2, 2.8):
        one.refuse(loss)
    other.restore(one.state())
    for loss in (3.0, 9.0, 3.1):
        assert one.refuse(loss) == other.refuse(loss)
    with pytest.raises(StateError, match="damaged"):
        other.restore({"count": 1})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("average_decay", 1.0),
        ("spike_deviations", 0.0),
        ("spike_warmup_steps", 1),
        ("spike_decay", 0.0),
    ],
)
def test_wrong_settings_are_named(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name):
        StabilityConfig(**{name: value})  # type: ignore[arg-type]
