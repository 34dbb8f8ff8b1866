"""What models do between decoder and logits: found, done, and checked against their own logits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.learning_language.conftest import tiny_language_model
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaForCausalLM

from everlearn.context import CarryConfig
from everlearn.errors import ConfigError, ModelError
from everlearn.learning.gradient import GradientConfig
from everlearn.learning.language import LanguageConfig, LanguageLearner
from everlearn.learning.language.logit_form import LogitForm, check_logit_form, find_logit_form
from everlearn.methods import DistillationConfig, SnapshotDistillation
from everlearn.models.language.causal import LanguageModel
from everlearn.types import Example

_TEXT = "a ship, a sea, and a whale that was white"


class _Changed(LlamaForCausalLM):  # type: ignore[no-untyped-call]
    """Does something to hidden states and logits, as many families do."""

    states_scale: float = 1.0
    logits_scale: float = 1.0
    softcap: float | None = None
    power: float | None = None

    def forward(self, input_ids: Any = None, labels: Any = None, **kwargs: Any) -> Any:
        output = self.model(input_ids=input_ids, **kwargs)
        logits: Tensor = self.lm_head(output[0] * self.states_scale) * self.logits_scale
        if self.softcap is not None:
            logits = self.softcap * torch.tanh(logits / self.softcap)
        if self.power is not None:
            logits = logits.sign() * logits.abs() ** self.power
        loss = None
        if labels is not None:
            loss = functional.cross_entropy(logits[0, :-1], labels[0, 1:])
        return type("Output", (), {"logits": logits, "loss": loss})()


def _changed(bias: bool = False, **changes: float | None) -> LanguageModel:
    made = tiny_language_model(tie_word_embeddings=False)
    model: Any = made.model
    model.__class__ = _Changed
    for name, value in changes.items():
        setattr(model, name, value)
    with torch.no_grad():
        model.lm_head.weight.normal_(std=0.5, generator=torch.Generator().manual_seed(0))
        if bias:
            model.lm_head.bias = nn.Parameter(torch.linspace(-2, 2, len(model.lm_head.weight)))
    return made


def _learner(made: LanguageModel, dtype: Any = "float32", methods: Any = ()) -> LanguageLearner:
    optimization = GradientConfig(
        trainable="all",
        optimizer="sgd",
        learning_rate=0.1,
        max_gradient_norm=None,
        warmup_steps=0,
        dtype=dtype,
    )
    carry = CarryConfig(window=None)
    return LanguageLearner(
        made, LanguageConfig(optimization=optimization, carry=carry, chunk_length=128), methods
    )


def _own_loss(made: LanguageModel) -> Tensor:
    ids = torch.tensor([[0, *made.tokenizer(_TEXT, add_special_tokens=False)["input_ids"], 1]])
    loss: Tensor = made.model(input_ids=ids, labels=ids).loss
    return loss


@given(st.floats(0.05, 20), st.floats(0.05, 20), st.none() | st.floats(0.5, 50))
@settings(max_examples=10, deadline=None, phases=[Phase.generate])
def test_scales_and_caps_are_measured(
    states_scale: float, logits_scale: float, softcap: float | None
) -> None:
    made = _changed(states_scale=states_scale, logits_scale=logits_scale, softcap=softcap)
    found = find_logit_form(made.model)
    assert not found.is_own
    assert found.states_scale == pytest.approx(states_scale, rel=1e-3)
    assert found.logits_scale == pytest.approx(logits_scale, rel=1e-3)
    assert found.softcap == (softcap if softcap is None else pytest.approx(softcap, rel=1e-3))


def test_numbers_of_the_configuration_are_taken_exactly() -> None:
    made = _changed(logits_scale=1 / 3)
    made.model.config.logits_scaling = 3
    assert find_logit_form(made.model) == LogitForm(logits_scale=1 / 3)
    assert find_logit_form(tiny_language_model().model) == LogitForm()


@pytest.mark.parametrize(
    "changes",
    [
        {"states_scale": 0.25, "logits_scale": 2.0, "softcap": 5.0},
        {"power": 1.5},
        {"softcap": 2.0, "power": 1.2},
    ],
)
def test_learning_is_that_of_the_models_own_logits(changes: dict[str, float]) -> None:
    learner, plain = _learner(_changed(bias=True, **changes)), _changed(bias=True, **changes)
    own = _own_loss(plain)
    (read,) = learner.score([Example(id="a", text=_TEXT)])
    assert read.nats / read.tokens == pytest.approx(own.item(), rel=1e-4)
    own.backward()  # type: ignore[no-untyped-call]
    learner.learn([Example(id="a", text=_TEXT)])
    learner.settle()
    learned = dict(learner.model.named_parameters())
    for name, parameter in plain.model.named_parameters():
        expected = parameter - 0.1 * parameter.grad
        torch.testing.assert_close(learned[name], expected, atol=2e-5, rtol=1e-4)


def test_the_models_own_way_in_reduced_precision_and_with_a_teacher() -> None:
    made = _changed(power=1.2)
    own = _own_loss(made).item()
    learner = _learner(made, "bfloat16", [SnapshotDistillation(DistillationConfig(on="fresh", weight=1.0))])
    (read,) = learner.score([Example(id="a", text=_TEXT)])
    assert read.nats / read.tokens == pytest.approx(own, rel=0.02)
    for k in range(3):
        learner.learn([Example(id=f"b{k}", text=_TEXT)])
        learner.settle()
    (learned,) = learner.score([Example(id="a", text=_TEXT)])
    assert learned.nats < read.nats


def test_a_wrong_form_gives_way_to_the_models_own() -> None:
    model = _changed(logits_scale=2.0).model
    assert check_logit_form(model, LogitForm(logits_scale=2.0), None) == LogitForm(logits_scale=2.0)
    assert check_logit_form(model, LogitForm(), None) == LogitForm(is_own=True)


class _TwoStates(LlamaForCausalLM):  # type: ignore[no-untyped-call]
    """Its logits do not come from the last hidden states alone."""

    def forward(self, input_ids: Any = None, **kwargs: Any) -> Any:
        states = self.model(input_ids=input_ids)[0] + 3 * self.model.embed_tokens(input_ids)
        return type("Output", (), {"logits": self.lm_head(states)})()


def test_logits_from_elsewhere_are_refused() -> None:
    made = tiny_language_model()
    made.model.__class__ = _TwoStates
    with pytest.raises(ModelError, match="_TwoStates do not come from the last hidden states"):
        _learner(made)


def test_training_nothing_is_refused() -> None:
    config = LanguageConfig(optimization=GradientConfig(trainable="head"))
    with pytest.raises(ConfigError, match=r"'head' leaves nothing to learn.*--train"):
        LanguageLearner(tiny_language_model(), config)
