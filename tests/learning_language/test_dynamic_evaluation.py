"""Dynamic evaluation: adapting while reading, and going back."""

from collections.abc import Callable
from typing import Any

import pytest

from everlearn.learning.gradient import GradientConfig
from everlearn.learning.language import LanguageConfig, LanguageLearner, dynamic_losses
from everlearn.models.language.causal import LanguageModel
from everlearn.types import Example

MakeModel = Callable[..., LanguageModel]

_REPETITIVE = "na na na na na na na na na na na na na na na na "


def _learner(make_model: MakeModel, **settings: Any) -> LanguageLearner:
    optimization = GradientConfig(trainable="all", learning_rate=1e-2, dtype="float32", warmup_steps=0)
    config = LanguageConfig(num_lanes=1, chunk_length=8, tokens_per_step=8, optimization=optimization)
    return LanguageLearner(make_model(), config)


def _pieces(text: str, name: str) -> list[Example]:
    parts = [text[at : at + 16] for at in range(0, len(text), 16)]
    return [
        Example(
            id=f"{name}#{k}",
            text=part,
            domain=name,
            fields={"document": name, "part": k, "last": k == len(parts) - 1},
        )
        for k, part in enumerate(parts)
    ]


def test_adapting_lowers_the_loss_and_leaves_the_learner_as_it_was(make_model: MakeModel) -> None:
    learner = _learner(make_model)
    learner.learn([Example(id="before", text="something else that waits in the lane")])
    before = learner.fingerprint()
    document = _pieces(_REPETITIVE, "song")
    (static,) = learner.score(document)
    (dynamic,) = dynamic_losses(learner, document)
    assert dynamic.bytes == static.bytes == len(_REPETITIVE)
    assert dynamic.tokens == static.tokens
    assert dynamic.nats < 0.8 * static.nats
    assert learner.fingerprint() == before


def test_forgetting_documents_adapts_to_each_alone(make_model: MakeModel) -> None:
    """Both documents are the same, so alone they cost the same, and together the second costs less."""
    learner = _learner(make_model)
    examples = _pieces(_REPETITIVE, "first") + _pieces(_REPETITIVE, "second")
    alone = {one.domain: one.nats for one in dynamic_losses(learner, examples, forget_documents=True)}
    assert alone["first"] == pytest.approx(alone["second"], rel=1e-6)
    together = {one.domain: one.nats for one in dynamic_losses(learner, examples)}
    assert together["second"] < together["first"]
    assert together["first"] == pytest.approx(alone["first"], rel=1e-6)
