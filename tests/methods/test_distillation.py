from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from tests.learning_seq2seq.conftest import _make as make_seq2seq
from tests.learning_seq2seq.pairs_of_words import word_pairs
from tests.methods.two_domains import (
    BOUNDARY,
    config,
    learn,
    losses_of_two_domains,
    plain_losses,
    pretrained,
    saved_and_loaded,
)
from torch import Tensor, nn
from torch.nn import functional

from everlearn.checks import METHOD_CHECKS
from everlearn.errors import ConfigError, StateError
from everlearn.learning.batch import Batch
from everlearn.learning.gradient import GradientConfig, GradientLearner
from everlearn.learning.language import LanguageBatch, LanguageLearner
from everlearn.learning.method import Method, StepContext
from everlearn.learning.objective import ForwardResult
from everlearn.learning.seq2seq import Seq2SeqConfig, Seq2SeqLearner
from everlearn.methods import (
    DistillationConfig,
    ExperienceReplay,
    ReplayConfig,
    SnapshotDistillation,
    create_method,
)
from everlearn.types import Boundary, Example, State

MAKERS: dict[str, Callable[[], Method]] = {
    "fresh": lambda: SnapshotDistillation(DistillationConfig(on="fresh")),
    "all, every 2 steps": lambda: SnapshotDistillation(DistillationConfig(on="all", renew_every_steps=2)),
    "added": partial(create_method, "distillation"),
}


@pytest.mark.parametrize("check", METHOD_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", MAKERS)
def test_contract(check: Callable[[Callable[[], Method]], None], name: str) -> None:
    check(MAKERS[name])


class Watched(SnapshotDistillation):
    """Distillation that notes its penalties and what they were computed of."""

    def __init__(self, config: DistillationConfig) -> None:
        super().__init__(config)
        self.seen: list[tuple[Batch, Tensor | None, Tensor]] = []

    def penalty(self, batch: Batch, result: ForwardResult, context: StepContext) -> Tensor | None:
        before = {name: weight.detach().clone() for name, weight in context.parameters.items()}
        generator = torch.get_rng_state()
        penalty = super().penalty(batch, result, context)
        assert torch.equal(torch.get_rng_state(), generator)
        for name, weight in context.parameters.items():
            assert torch.equal(weight.detach(), before[name])
        self.seen.append((batch, penalty if penalty is None else penalty.detach(), result.logits.detach()))
        return penalty


def vectors(number: int, label: str) -> list[Example]:
    generator = np.random.default_rng(number)
    return [Example(id=f"{number}-{k}", target=label, vector=generator.normal(size=3)) for k in range(4)]


def test_a_classifier_is_held_to_its_old_columns() -> None:
    method = Watched(DistillationConfig(on="fresh", weight=0.7, temperature=3.0))
    network = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Dropout(0.5))
    settings = GradientConfig(learning_rate=1e-2, head_learning_rate=1e-1, train_mode=True)
    learner = GradientLearner.for_vectors(network, 5, settings, [method])
    for number in range(6):
        learner.learn(vectors(number, "ab"[number % 2]))
    assert [penalty for _, penalty, _ in method.seen] == [None] * 6  # nothing was known at the start
    learner.on_boundary(Boundary(reason="request", num_examples=24))
    fresh = vectors(9, "c")
    inputs = [np.asarray(one.vector, np.float32) for one in fresh]
    teacher_BC = learner.model(inputs).detach()
    learner.learn(vectors(8, "c"))
    learner.learn(fresh)
    batch, penalty, logits = method.seen[-1]
    assert [one.id for one in batch.examples] == [one.id for one in fresh]
    assert logits.shape[1] == 3
    log_p, teacher_log_p = (functional.log_softmax(one[:, :2] / 3.0, dim=1) for one in (logits, teacher_BC))
    expected = 0.7 * 9.0 * functional.kl_div(log_p, teacher_log_p, reduction="batchmean", log_target=True)
    assert penalty is not None
    assert float(penalty) > 1e-4
    torch.testing.assert_close(penalty, expected, rtol=1e-4, atol=1e-6)


def test_only_added_examples_are_distilled_on_and_weigh_as_their_own_loss() -> None:
    method = Watched(DistillationConfig(temperature=1.0))
    replay = ExperienceReplay(ReplayConfig(num_replayed=2))
    learner = GradientLearner.for_vectors(nn.Linear(3, 5), 5, methods=[replay, method])
    for number in range(4):
        learner.learn(vectors(number, "ab"[number % 2]))
    learner.on_boundary(BOUNDARY)
    learner.learn(vectors(5, "a"))
    (batch, penalty, _) = method.seen[-1]
    assert len(batch) == 6
    assert penalty is not None
    assert float(penalty) == pytest.approx(0.0, abs=1e-7)  # the model is its teacher still
    learner.learn(vectors(6, "b"))
    (batch, penalty, logits) = method.seen[-1]
    teacher_BC = torch.func.functional_call(learner.model, method._teacher.tensors, (batch.inputs,))
    log_p, teacher_log_p = (functional.log_softmax(one[4:], dim=1) for one in (logits, teacher_BC.detach()))
    expected = functional.kl_div(log_p, teacher_log_p, reduction="sum", log_target=True) / 6
    assert penalty is not None
    torch.testing.assert_close(penalty, expected)


@pytest.mark.parametrize("trainable", ["lora", "all"])
@pytest.mark.parametrize("on", ["added", "fresh"])
def test_tokens_of_a_language_model(on: Any, trainable: str) -> None:
    """Against the whole logits of student and teacher; with "all" the head is trained and differs."""
    method = Watched(DistillationConfig(on=on, weight=0.5, temperature=2.0, renew_at_boundaries=False))
    replay = ExperienceReplay(ReplayConfig(replay_share=0.5))
    settings = config(trainable=trainable, learning_rate=1e-2)
    learner = LanguageLearner(pretrained(), settings, [replay, method])
    learn(learner, "first", range(4))
    method.seen.clear()
    learner.learn(texts_for_one_step())
    num_distilled = 0
    weights = {name: one.detach().clone() for name, one in learner.training.parameters.items()}
    for batch, penalty, logits_TV in method.seen:
        assert isinstance(batch, LanguageBatch)
        if bool(batch.chunks) != (on == "fresh"):
            assert penalty is None
            continue
        num_distilled += len(logits_TV)
        if batch.chunks:
            continue  # the lanes have gone on, so their teacher cannot be asked again
        for name, one in learner.training.parameters.items():
            one.data = method._teacher.tensors[name]
        teacher_TV = learner.training.objective.forward(learner.model, batch).logits.detach()
        for name, one in learner.training.parameters.items():
            one.data = weights[name]
        log_p, teacher_log_p = (functional.log_softmax(one / 2.0, dim=1) for one in (logits_TV, teacher_TV))
        expected = 0.5 * 4.0 * functional.kl_div(log_p, teacher_log_p, reduction="batchmean", log_target=True)
        assert penalty is not None
        assert float(penalty) > 1e-4
        torch.testing.assert_close(penalty, expected, rtol=1e-4, atol=1e-6)
    assert num_distilled > 20


def texts_for_one_step() -> list[Example]:
    return [Example(id=f"n{k}", text="the cat runs to 12 = 7+ the mat on", domain="both") for k in range(4)]


def test_dropout_is_off_for_the_teacher_and_the_students_step_stays_the_same() -> None:
    """With weight 0 and with a teacher that equals the model, the weights after a step are equal."""
    learners = []
    for strength in (0.0, 5.0):
        method = Watched(DistillationConfig(on="fresh", weight=strength))
        settings = config(trainable="all", train_mode=True, optimizer="sgd", learning_rate=1e-2)
        language_model = pretrained()
        language_model.model.config.attention_dropout = 0.0
        learners.append(LanguageLearner(language_model, settings, [method]))
        learners[-1].learn(texts_for_one_step())
    for name, weight in learners[0].training.parameters.items():
        torch.testing.assert_close(weight, learners[1].training.parameters[name], rtol=0, atol=1e-6)
    assert not any(module.training for module in learners[1].model.modules())


def test_a_language_model_with_distillation_resumes_to_the_bit() -> None:
    def make() -> LanguageLearner:
        replay = ExperienceReplay(ReplayConfig(replay_share=0.5))
        return LanguageLearner(
            pretrained(), config(trainable="lora"), [replay, create_method("distillation")]
        )

    learner, restored = make(), make()
    learn(learner, "first", range(3))
    learner.on_boundary(BOUNDARY)
    learn(learner, "second", range(2))
    learn(restored, "second", range(50, 52))
    restored.restore(saved_and_loaded(learner.state()))
    for one in (learner, restored):
        learn(one, "second", range(2, 5))
    assert restored.fingerprint() == learner.fingerprint()


def test_an_encoder_decoder_is_held_to_what_it_said() -> None:
    """Tokens of fresh and added pairs lie in one part there."""
    method = Watched(DistillationConfig(temperature=1.0, renew_at_boundaries=False))
    replay = ExperienceReplay(ReplayConfig(num_replayed=3))
    optimization = GradientConfig(dtype="float32", learning_rate=3e-3, warmup_steps=0)
    learner = Seq2SeqLearner(make_seq2seq(), Seq2SeqConfig(optimization=optimization), [replay, method])
    for number in range(4):
        learner.learn(word_pairs(4, seed=number))
    penalties = [penalty for batch, penalty, _ in method.seen if len(batch) > batch.num_fresh]
    assert penalties
    assert all(penalty is not None and 0.0 < float(penalty) < 1.0 for penalty in penalties)
    assert all(penalty is None for batch, penalty, _ in method.seen if len(batch) == batch.num_fresh)


def test_less_of_the_first_domain_is_forgotten() -> None:
    """30 steps a domain: 0.75 → 2.34 plain, 0.81 → 1.68 on fresh text; replay 0.77 → 1.01, both → 0.95."""
    plain = plain_losses()
    on_fresh = SnapshotDistillation(DistillationConfig(on="fresh", weight=0.3))
    distilled = losses_of_two_domains([on_fresh])
    assert distilled[1] < plain[1] - 0.3
    assert distilled[2] < plain[2] + 0.2

    def replay() -> ExperienceReplay:
        return ExperienceReplay(ReplayConfig(memory_examples=10, replay_share=0.25))

    replayed = losses_of_two_domains([replay()])
    both = losses_of_two_domains([replay(), SnapshotDistillation()])
    assert both[1] - both[0] < replayed[1] - replayed[0]


def test_the_teacher_is_renewed_when_asked() -> None:
    method = SnapshotDistillation(
        DistillationConfig(on="fresh", renew_every_steps=3, renew_at_boundaries=False)
    )
    learner = GradientLearner.for_vectors(nn.Linear(3, 5), 5, methods=[method])
    taken = []
    for number in range(7):
        learner.learn(vectors(number, "ab"[number % 2]))
        taken.append(int(method.state().data["taken_at_step"]))
    assert taken == [0, 0, 3, 3, 3, 6, 6]
    before = method.state()
    learner.on_boundary(BOUNDARY)
    assert method.state().data == before.data


@pytest.mark.parametrize(
    ("field", "value"),
    [("weight", -1.0), ("temperature", 0.0), ("on", "stored"), ("renew_every_steps", 0)],
)
def test_bad_settings_are_named(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{field} must be"):
        DistillationConfig(**{field: value})


def test_states_of_others_are_refused() -> None:
    method = SnapshotDistillation(DistillationConfig(on="fresh"))
    with pytest.raises(StateError, match="the saved teacher is damaged"):
        method.restore(State({}, {"num_labels": 3}))
    learner = GradientLearner.for_vectors(nn.Linear(3, 5), 5, methods=[method])
    method.restore(State({"other": torch.zeros(2)}, {"num_labels": 3, "taken_at_step": 0}))
    with pytest.raises(StateError, match="of another model"):
        learner.learn(vectors(0, "a") + vectors(1, "b"))
