from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from tests.learning_seq2seq.conftest import MakeModel, make_tokenizer
from tests.learning_seq2seq.pairs_of_words import batches, word_pairs
from torch import Tensor

from everlearn.errors import ConfigError, InputError, ModelError, StateError
from everlearn.learning.batch import Batch
from everlearn.learning.gradient import GradientConfig
from everlearn.learning.gradient.stability import StabilityConfig
from everlearn.learning.method import Method, StepContext
from everlearn.learning.objective import ForwardResult
from everlearn.learning.seq2seq import Seq2SeqConfig, Seq2SeqLearner
from everlearn.methods import ExperienceReplay, ReplayConfig
from everlearn.models.language.seq2seq import Seq2SeqModel
from everlearn.types import Boundary, Example, Learner, State

REPLAY = ReplayConfig(memory_examples=10, num_replayed=3)


def make_learner(
    model: Seq2SeqModel,
    *,
    methods: list[Method] | None = None,
    config: dict[str, Any] | None = None,
    **settings: Any,
) -> Seq2SeqLearner:
    optimization = GradientConfig(
        **{"dtype": "float32", "learning_rate": 3e-3, "warmup_steps": 2, **settings}
    )
    replay = [ExperienceReplay(REPLAY)] if methods is None else methods
    return Seq2SeqLearner(model, Seq2SeqConfig(optimization=optimization, **(config or {})), replay)


def saved_and_loaded(state: State) -> State:
    from safetensors.torch import load, save

    return State(load(save(dict(state.tensors))), json.loads(json.dumps(state.data)))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"dtype": "bfloat16", "trainable": "decoder"},
        {"trainable": "lora", "optimizer": "momentum"},
        {"trainable": "embeddings", "train_mode": True},
    ],
    ids=str,
)
def test_restored_learner_goes_on_to_the_bit(make_model: MakeModel, settings: dict[str, Any]) -> None:
    if settings.get("trainable") == "lora":
        pytest.importorskip("peft")
    config = {"label_smoothing": 0.1, "stability": StabilityConfig(average_decay=0.9, spike_deviations=6.0)}

    def learner_of_this_kind() -> Seq2SeqLearner:
        return make_learner(make_model(dropout=0.2), config=config, **settings)

    before = torch.get_rng_state()
    learner, restored, twin = (learner_of_this_kind() for _ in range(3))
    for batch in batches(4):
        learner.learn(batch)
        twin.learn(batch)
    assert twin.fingerprint() == learner.fingerprint()
    restored.learn(word_pairs(3, seed=77))
    restored.restore(saved_and_loaded(learner.state()))
    assert restored.fingerprint() == learner.fingerprint()
    assert restored.num_examples == learner.num_examples == 24
    for batch in batches(3, seed=1):
        assert learner.learn(batch) == restored.learn(batch)
    assert restored.fingerprint() == learner.fingerprint() != twin.fingerprint()
    for mine, other in zip(learner.predict(batch), restored.predict(batch), strict=True):
        assert mine.label == other.label
        assert np.array_equal(mine.probabilities, other.probabilities)
    assert torch.equal(before, torch.get_rng_state())
    assert not learner.model.training


def test_learner_is_a_learner_and_reports_its_steps(make_model: MakeModel) -> None:
    learner = make_learner(make_model())
    assert isinstance(learner, Learner)
    assert (learner.labels, learner.reads_text) == ((), True)
    batch = word_pairs(4, domain="first") + word_pairs(3, seed=1, domain="second")
    expected = learner.score(batch)
    without = [Example(id="x", text="a dog")]
    each = learner.score_each([batch[4:], without, batch[:4]])
    assert each == learner.frozen().score_each([batch[4:], without, batch[:4]])
    assert [one.tokens for one in each] == [expected[1].tokens, 0, expected[0].tokens]
    assert [one.nats for one in each] == pytest.approx([expected[1].nats, 0.0, expected[0].nats], rel=1e-5)
    report = learner.learn([*without, *batch])
    assert (report.num_learned, report.num_without_target, report.num_replayed) == (7, 1, 0)
    assert (report.new_labels, report.skipped) == ((), None)
    assert report.gradient_norm is not None
    # What the step lost before its update is what scoring lost.
    assert [loss.domain for loss in report.text_losses] == ["first", "second"]
    for mine, other in zip(report.text_losses, expected, strict=True):
        assert (mine.domain, mine.tokens, mine.bytes) == (other.domain, other.tokens, other.bytes)
        assert mine.nats == pytest.approx(other.nats, rel=1e-5)
    first = report.text_losses[0]
    targets = [example.target or "" for example in batch[:4]]
    assert first.tokens == sum(len(target.split()) + 1 for target in targets)
    assert first.bytes == sum(len(target.encode()) for target in targets)
    assert report.num_tokens == sum(loss.tokens for loss in report.text_losses)
    assert report.loss == pytest.approx(sum(loss.nats for loss in expected) / report.num_tokens, rel=1e-5)
    assert learner.learn(batch).num_replayed == 3
    assert learner.learn(without).loss is None
    assert learner.learn([]).num_learned == 0
    assert learner.score(without) == ()
    assert learner.predict([]) == []
    assert list(learner.prepare(batch)) == batch
    assert learner.num_examples == 14


def test_it_learns_to_translate_and_predicting_changes_nothing(make_model: MakeModel) -> None:
    learner = make_learner(make_model(), methods=[], learning_rate=5e-3)
    seen = word_pairs(12, longest=3)
    for _ in range(60):
        learner.learn(seen)
    before = learner.fingerprint()
    predictions = learner.predict(seen)
    assert learner.fingerprint() == before
    right = sum(p.label == example.target for p, example in zip(predictions, seen, strict=True))
    assert right >= 11
    for example, prediction in zip(seen, predictions, strict=True):
        assert prediction.labels == (prediction.label,)
        # The confidence is the geometric mean of the probabilities of the tokens.
        (loss,) = learner.score([example.with_target(prediction.label)])
        assert prediction.confidence == pytest.approx(np.exp(-loss.nats / loss.tokens), rel=1e-4)


def test_predictions_are_of_averaged_weights_and_frozen_ones_stay(make_model: MakeModel) -> None:
    stability = StabilityConfig(average_decay=0.5)
    learner = make_learner(make_model(), config={"stability": stability}, learning_rate=1e-2)
    for batch in batches(20):
        learner.learn(batch)
    frozen, probe = learner.frozen(), word_pairs(6, seed=5)

    def said(predictor: Any) -> list[tuple[str | None, float]]:
        return [(prediction.label, prediction.confidence) for prediction in predictor.predict(probe)]

    before = said(frozen)
    assert before == said(learner)
    newest = learner.model.get_parameter("model.shared.weight").detach().clone()
    with learner.training.averaged():
        assert not torch.equal(newest, learner.model.get_parameter("model.shared.weight"))
    for batch in batches(20, seed=9):
        learner.learn(batch)
    assert said(frozen) == before != said(learner)


def test_forget_clears_the_memory_and_is_honest_about_the_weights(make_model: MakeModel) -> None:
    learner = make_learner(make_model())
    batch = word_pairs(6)
    assert learner.forget(batch).exact
    learner.learn(batch)
    weights = {name: weight.clone() for name, weight in learner.model.state_dict().items()}
    report = learner.forget([*batch[:2], Example(id="never seen")])
    assert (report.num_forgotten, report.exact) == (2, False)
    assert all(torch.equal(weights[name], weight) for name, weight in learner.model.state_dict().items())
    stored = json.dumps(learner.state().data)
    assert f'"{batch[0].id}"' not in stored
    assert f'"{batch[2].id}"' in stored


class Watching(Method):
    """Adds a penalty on the logits and notes what its hooks are given."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int]] = []
        self.calls: list[str] = []

    def penalty(self, batch: Batch, result: ForwardResult, context: StepContext) -> Tensor:
        self.rows.append((len(batch), result.logits.shape[0]))
        return 1e-4 * result.logits.square().mean()

    def adjust_gradients(self, context: StepContext) -> None:
        assert all(weight.grad is not None for weight in context.parameters.values())
        self.calls.append("adjust_gradients")

    def after_step(self, fresh: Batch, context: StepContext) -> None:
        self.calls.append("after_step")

    def on_boundary(self, boundary: Boundary, context: Any) -> None:
        self.calls.append("on_boundary")

    def state(self) -> State:
        return State({}, {})

    def restore(self, state: State) -> None:
        pass

    def forget(self, ids: Any) -> int:
        return 0


def test_methods_compose(make_model: MakeModel) -> None:
    watching = Watching()
    methods = [ExperienceReplay(REPLAY), watching]
    learner = make_learner(make_model(), methods=methods, config={"tokens_at_once": 40})
    for batch in batches(3):
        report = learner.learn(batch)
    learner.on_boundary(Boundary(reason="request", num_examples=18))
    assert report.num_replayed == 3
    assert watching.calls == [*["adjust_gradients", "after_step"] * 3, "on_boundary"]
    assert len(watching.rows) > 3, "the step must have been made in several parts"
    assert sum(count for count, _ in watching.rows) == 6 + 9 + 9
    plain = make_learner(make_model(), config={"tokens_at_once": 40})
    for batch in batches(3):
        plain.learn(batch)
    assert plain.state().tensors.keys() <= learner.state().tensors.keys()
    assert not torch.equal(
        plain.model.get_parameter("model.shared.weight"), learner.model.get_parameter("model.shared.weight")
    )


def test_memory_can_be_filled_with_what_was_learned_before(make_model: MakeModel) -> None:
    replay = ExperienceReplay(REPLAY)
    learner = make_learner(make_model(), methods=[replay])
    replay.memory.add(learner.model_examples(word_pairs(8, seed=4)))
    assert learner.learn(word_pairs(2)).num_replayed == 3
    with pytest.raises(InputError, match="'bare' has no target"):
        learner.model_examples([Example(id="bare", text="a dog")])


def test_odd_input(make_model: MakeModel) -> None:
    learner = make_learner(make_model(), config={"max_source_length": 6, "max_target_length": 5})
    empty = Example(id="empty", text="", target="")
    long = Example(id="long", text="a dog sees " * 400, target="ein hund sieht " * 400)
    strange = Example(id="strange", text="\u2603 xyzzy 漢字", target="漢字 \U0001f600")
    cut = Example(id="cut", text="a dog sees a dog")
    report = learner.learn([empty, long, strange])
    # An end token alone; five tokens without an end; two unknown words and the end.
    assert report.num_tokens == 1 + 5 + 3
    assert report.text_losses[0].bytes == len("ein hund sieht ein hund") + len("漢字 \U0001f600".encode())
    predictions = learner.predict([empty, long, strange, cut])
    assert predictions[1].label == predictions[3].label
    assert all(isinstance(prediction.label, str) for prediction in predictions)
    before = learner.fingerprint()
    with pytest.raises(InputError, match="'no text' has no text"):
        learner.learn([empty, Example(id="no text", target="ein")])
    with pytest.raises(InputError, match="'no text' has no text"):
        learner.predict([Example(id="no text")])
    assert learner.fingerprint() == before
    # Lengths beyond what the model takes are the model's.
    assert make_learner(make_model(), config={"max_source_length": 10_000}).learn([long]).num_tokens == 24


def test_divergence_is_an_error_and_keeps_the_weights(make_model: MakeModel) -> None:
    learner = make_learner(make_model())
    with torch.no_grad():
        learner.model.get_parameter("model.encoder.layers.0.fc1.weight").fill_(torch.nan)
    before = {name: weight.clone() for name, weight in learner.model.state_dict().items()}
    with pytest.raises(ModelError, match="nan"):
        learner.learn(word_pairs(4))
    for name, weight in learner.model.state_dict().items():
        torch.testing.assert_close(weight, before[name], rtol=0, atol=0, equal_nan=True)
    assert learner.num_examples == 0


def test_restore_refuses_other_learners(make_model: MakeModel) -> None:
    learner = make_learner(make_model())
    learner.learn(word_pairs(4))
    state = learner.state()
    with pytest.raises(StateError, match="model"):
        make_learner(make_model(seed=1)).restore(state)
    with pytest.raises(StateError, match="config"):
        make_learner(make_model(), learning_rate=1e-3).restore(state)
    with pytest.raises(StateError, match="kind"):
        learner.restore(State({}, {}))
    with pytest.raises(StateError, match="methods"):
        make_learner(make_model(), methods=[]).restore(state)
    with pytest.raises(StateError, match="damaged"):
        learner.restore(State(state.tensors, {k: v for k, v in state.data.items() if k != "training"}))
    cut = {name: tensor for name, tensor in state.tensors.items() if name != "weights/model.shared.weight"}
    with pytest.raises(StateError, match=r"model\.shared\.weight"):
        learner.restore(State(cut, state.data))
    one = make_model()
    other = Seq2SeqModel(one.model, make_tokenizer(("new",)), one.name, one.sha256, one.max_length)
    with pytest.raises(StateError, match="tokenizer"):
        make_learner(other).restore(state)


def test_a_model_that_does_not_say_how_targets_start_is_refused(make_model: MakeModel) -> None:
    model = make_model()
    vars(model.model.config)["decoder_start_token_id"] = None  # which its own check would refuse
    model.model.generation_config = None
    with pytest.raises(ModelError, match="decoder_start_token_id"):
        Seq2SeqLearner(model)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_source_length": 1}, "max_source_length .* not 1"),
        ({"max_target_length": True}, "max_target_length .* not True"),
        ({"num_beams": 0}, "num_beams .* not 0"),
        ({"tokens_at_once": 2.5}, r"tokens_at_once .* not 2\.5"),
        ({"label_smoothing": 1.0}, r"label_smoothing .* not 1\.0"),
        ({"length_penalty": float("nan")}, "length_penalty .* not nan"),
        ({"optimization": GradientConfig(trainable="head")}, "'head'"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Seq2SeqConfig(**settings)
