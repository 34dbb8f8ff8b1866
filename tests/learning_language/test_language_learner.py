"""The learner of language models on tiny ones: scores, steps, state, forgetting."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from everlearn.context import CarryConfig
from everlearn.document_piece import DocumentPiece
from everlearn.errors import ConfigError, ModelError, StateError
from everlearn.learning.gradient import GradientConfig
from everlearn.learning.gradient.stability import StabilityConfig
from everlearn.learning.language import LanguageConfig, LanguageLearner
from everlearn.methods import ExperienceReplay, ReplayConfig
from everlearn.models.language.causal import LanguageModel
from everlearn.types import Example, State, StepReport

MakeModel = Callable[..., LanguageModel]

_TEXTS = [
    "the cat sat on the mat and the dog lay on the rug",
    "a ship, a sea, and a whale that was white: ééé 鯨鯨",
    "short",
    "rain in the morning, sun in the evening, and wind all day long over the hills",
]


def _config(**settings: Any) -> LanguageConfig:
    optimization: dict[str, Any] = {
        "trainable": "all",
        "learning_rate": 1e-2,
        "dtype": "float32",
        "warmup_steps": 0,
    }
    optimization |= settings.pop("optimization", {})
    values: dict[str, Any] = {"num_lanes": 2, "chunk_length": 8, "tokens_per_step": 16, **settings}
    return LanguageConfig(optimization=GradientConfig(**optimization), **values)


def _examples(texts: list[str] = _TEXTS, name: str = "e") -> list[Example]:
    return [
        Example(id=f"{name}{k}", text=text, domain="even" if k % 2 == 0 else "odd")
        for k, text in enumerate(texts)
    ]


def _learn(learner: LanguageLearner, examples: list[Example]) -> list[StepReport]:
    return [*(learner.learn([one]) for one in examples), learner.settle()]


def _reference_nats(language_model: LanguageModel, text: str) -> float:
    """Loss of a whole document at once, separators as the learner has them."""
    ids = [0, *language_model.tokenizer(text, add_special_tokens=False)["input_ids"], 1]
    with torch.no_grad():
        logits = language_model.model(torch.tensor([ids])).logits[0, :-1]
    return float(functional.cross_entropy(logits.double(), torch.tensor(ids[1:]), reduction="sum"))


def test_scores_equal_those_of_whole_documents(make_model: MakeModel) -> None:
    language_model = make_model()
    expected = {"even": 0.0, "odd": 0.0}
    for one in _examples():
        expected[str(one.domain)] += _reference_nats(language_model, str(one.text))
    learner = LanguageLearner(make_model(), _config(carry=CarryConfig(window=None)))
    losses = {str(one.domain): one for one in learner.score(_examples())}
    for domain, nats in expected.items():
        assert losses[domain].nats == pytest.approx(nats, rel=1e-5)
    texts = {"even": [_TEXTS[0], _TEXTS[2]], "odd": [_TEXTS[1], _TEXTS[3]]}
    for domain, members in texts.items():
        assert losses[domain].bytes == sum(len(text.encode()) for text in members)
        assert losses[domain].tokens == losses[domain].bytes + len(members)  # and an end each


def test_losses_of_groups_are_those_of_their_members(make_model: MakeModel) -> None:
    """Of several lanes and chunks, against whole documents; with pieces, and a group of none."""
    language_model = make_model()
    learner = LanguageLearner(language_model, _config(carry=CarryConfig(window=None)))
    whole = _examples()
    pieces = [
        DocumentPiece("long", part, is_last=part == 1).put_on(Example(id=f"long{part}", text=text))
        for part, text in enumerate(_TEXTS[:2])
    ]
    groups = [[whole[3], whole[0]], [], pieces, [whole[1]]]
    losses = learner.score_each(groups)
    assert losses == learner.frozen().score_each(groups)
    expected = [
        sum(_reference_nats(language_model, text) for text in texts)
        for texts in ([_TEXTS[3], _TEXTS[0]], [], [_TEXTS[0] + _TEXTS[1]], [_TEXTS[1]])
    ]
    assert [one.nats for one in losses] == pytest.approx(expected, rel=1e-5)
    assert [one.tokens > 0 for one in losses] == [True, False, True, True]
    assert {one.domain for one in losses} == {None}


def test_prequential_losses_are_taken_before_learning(make_model: MakeModel) -> None:
    """With a learning rate of nearly nothing they are those of the untrained model, each token once."""
    config = _config(carry=CarryConfig(window=None), optimization={"learning_rate": 1e-12})
    learner = LanguageLearner(make_model(), config)
    reports = _learn(learner, _examples())
    total = sum(loss.nats for report in reports for loss in report.text_losses)
    assert total == pytest.approx(sum(_reference_nats(make_model(), text) for text in _TEXTS), rel=1e-5)
    num_bytes = sum(loss.bytes for report in reports for loss in report.text_losses)
    assert num_bytes == sum(len(text.encode()) for text in _TEXTS)
    assert sum(report.num_tokens for report in reports) == learner.num_tokens == num_bytes + len(_TEXTS)


def test_one_step_equals_a_step_by_hand(make_model: MakeModel) -> None:
    """Three chunks with carried context, gradients detached between them, as one accumulated SGD step."""
    text = "0123456789abcdefghijklm"  # 24 labels with its end: 3 chunks of 8
    settings: dict[str, Any] = {"optimizer": "sgd", "learning_rate": 0.1, "max_gradient_norm": None}
    config = _config(num_lanes=1, tokens_per_step=24, carry=CarryConfig(window=None), optimization=settings)
    language_model = make_model()
    learner = LanguageLearner(language_model, config)
    report = learner.learn([Example(id="a", text=text)])
    assert report.num_tokens == 24

    reference = make_model()
    model: Any = reference.model
    ids = torch.tensor([[0, *reference.tokenizer(text, add_special_tokens=False)["input_ids"], 1]])
    from transformers import DynamicCache

    cache: Any = DynamicCache(config=model.config)
    losses = []
    for start in range(0, 24, 8):
        logits = model(ids[:, start : start + 8], past_key_values=cache, use_cache=True).logits
        losses.append(functional.cross_entropy(logits[0], ids[0, start + 1 : start + 9], reduction="sum"))
        for layer in cache.layers:
            layer.keys, layer.values = layer.keys.detach(), layer.values.detach()
    (sum(losses) / 24).backward()  # type: ignore[union-attr]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.1 * parameter.grad
    trained = dict(language_model.model.named_parameters())
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(trained[name], parameter, atol=2e-6, rtol=1e-4)


def test_gradients_flow_into_earlier_chunks_when_asked(make_model: MakeModel) -> None:
    """Two chunks in one group give the step of the whole text at once."""
    text = "0123456789abcde"  # 16 labels
    settings: dict[str, Any] = {"optimizer": "sgd", "learning_rate": 0.1, "max_gradient_norm": None}
    carry = CarryConfig(window=None, gradient_chunks=1)
    language_model = make_model()
    learner = LanguageLearner(
        language_model, _config(num_lanes=1, tokens_per_step=16, carry=carry, optimization=settings)
    )
    learner.learn([Example(id="a", text=text)])
    whole = make_model()
    other = LanguageLearner(
        whole, _config(num_lanes=1, chunk_length=16, tokens_per_step=16, optimization=settings)
    )
    other.learn([Example(id="a", text=text)])
    trained = dict(language_model.model.named_parameters())
    for name, parameter in whole.model.named_parameters():
        torch.testing.assert_close(trained[name], parameter, atol=2e-6, rtol=1e-4)


def test_learning_lowers_the_loss(make_model: MakeModel) -> None:
    learner = LanguageLearner(make_model(), _config())
    before = sum(one.nats for one in learner.score(_examples()))
    for number in range(20):
        _learn(learner, _examples(name=f"{number}-"))
    assert sum(one.nats for one in learner.score(_examples())) < 0.7 * before


def _with_everything() -> LanguageConfig:
    return _config(
        stability=StabilityConfig(average_decay=0.9, spike_deviations=8.0),
        optimization={"trainable": "lora", "train_mode": True},
    )


def _make_with_everything(make_model: MakeModel) -> LanguageLearner:
    replay = ExperienceReplay(ReplayConfig(memory_examples=20, replay_share=0.5))
    return LanguageLearner(make_model(attention_dropout=0.0), _with_everything(), [replay])


def test_a_restored_learner_goes_on_to_the_bit(make_model: MakeModel) -> None:
    """Saved between two pieces of a document, with tokens waiting and context carried."""
    pieces = [
        Example(
            id=f"p{k}",
            text=_TEXTS[k],
            fields={"document": "long", "part": k, "last": k == len(_TEXTS) - 1},
        )
        for k in range(len(_TEXTS))
    ]
    learner = _make_with_everything(make_model)
    learner.learn(_examples())
    learner.learn(pieces[:2])
    assert not learner.is_settled
    state = learner.state()
    other = _make_with_everything(make_model)
    other.learn(_examples(name="others"))
    other.restore(state)
    assert other.fingerprint() == learner.fingerprint()
    for one in (learner, other):
        one.learn(pieces[2:])
        one.settle()
    assert other.fingerprint() == learner.fingerprint()
    assert [one.nats for one in other.score(_examples())] == [one.nats for one in learner.score(_examples())]


def test_other_models_and_tokenizers_are_refused(make_model: MakeModel) -> None:
    state = LanguageLearner(make_model(), _config()).state()
    with pytest.raises(StateError, match="the state has model"):
        LanguageLearner(make_model(seed=1), _config()).restore(state)
    other = make_model()
    other.tokenizer.add_tokens(["whale"])
    with pytest.raises(StateError, match="the state has tokenizer"):
        LanguageLearner(other, _config()).restore(state)
    with pytest.raises(StateError, match="the saved learner is damaged"):
        LanguageLearner(make_model(), _config()).restore(
            State({}, {key: value for key, value in state.data.items() if key != "training"})
        )


def test_forgetting_empties_memory_lanes_and_context(make_model: MakeModel) -> None:
    learner = _make_with_everything(make_model)
    secret = Example(
        id="secret", text="my number is 12345678", fields={"document": "d", "part": 0, "last": False}
    )
    learner.learn([*_examples(), secret])
    assert b"secret" in repr(learner.state().data).encode() or not learner.is_settled
    report = learner.forget([secret])
    assert not report.exact
    assert "secret" not in repr(learner.state().data["lanes"])
    assert "secret" not in repr(learner.state().data["training"])
    learner.learn([Example(id="n", text="and more", fields={"document": "d", "part": 1, "last": True})])
    learner.settle()


def test_what_is_forgotten_is_counted_in_examples(make_model: MakeModel) -> None:
    learner = _make_with_everything(make_model)
    texts = ["a long text of many chunks " * 3, "short", "another that is long enough to be cut up"]
    secrets = _examples(texts, name="secret")
    learner.learn(secrets)  # some tokens of them wait, some are in the memory, in several segments
    never = Example(id="never", text="not learned")
    assert learner.forget([*secrets, never, secrets[0]]).num_forgotten == 3
    assert learner.forget(secrets).num_forgotten == 0
    learner.learn(_examples())
    learner.settle()
    assert learner.forget(_examples()[:2]).num_forgotten == 2


def test_a_loss_spike_is_left_out_and_told(make_model: MakeModel) -> None:
    config = _config(
        stability=StabilityConfig(spike_deviations=3.0, spike_warmup_steps=3),
        optimization={"learning_rate": 1e-4},
    )
    learner = LanguageLearner(make_model(), config)
    for number in range(6):
        learner.learn(_examples(["aaaaaaaaaaaaaaaa"] * 2, name=f"{number}-"))
    before = {name: weight.detach().clone() for name, weight in learner.training.parameters.items()}
    for parameter in (learner.language_model.model.get_output_embeddings().weight,):
        assert parameter.requires_grad
    learner.training._spikes._mean = 0.1  # as if everything had been easy
    report = learner.learn(_examples(["zyxwvutsrqponmlk"] * 2, name="spike"))
    assert report.skipped is not None
    assert "loss spike" in report.skipped
    for name, weight in learner.training.parameters.items():
        assert torch.equal(weight, before[name])


def test_divergence_stops_with_the_weights_before_it(make_model: MakeModel) -> None:
    learner = LanguageLearner(make_model(), _config())
    learner.learn(_examples())
    weight = next(iter(learner.training.parameters.values()))
    with torch.no_grad():
        weight[0, 0] = float("nan")
    kept = {name: one.detach().clone() for name, one in learner.training.parameters.items()}
    with pytest.raises(ModelError, match="training diverged"):
        learner.learn(_examples(name="f"))
    for name, one in learner.training.parameters.items():
        torch.testing.assert_close(one, kept[name], equal_nan=True)


def test_checkpointed_layers_give_the_same_step(make_model: MakeModel) -> None:
    learners = [LanguageLearner(make_model(), _config(gradient_checkpointing=flag)) for flag in (False, True)]
    for learner in learners:
        _learn(learner, _examples())
    for name, weight in learners[0].training.parameters.items():
        torch.testing.assert_close(weight, learners[1].training.parameters[name])


def test_replay_learns_earlier_segments_beside_fresh_ones(make_model: MakeModel) -> None:
    learner = _make_with_everything(make_model)
    reports = [learner.learn(_examples(name=f"{number}-")) for number in range(4)]
    assert reports[-1].num_replayed > 0
    memory = learner.methods[0].memory  # type: ignore[attr-defined]
    assert {one.example_id.split("-")[0] for one in memory.examples()} >= {"0", "1"}
    assert all(one.input.dtype == np.int32 for one in memory.examples())


def test_only_answers_of_chats_are_learned(make_model: MakeModel) -> None:
    language_model = make_model()
    language_model.tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] + ':' + m['content'] + '\n' }}{% endfor %}"
    )
    learner = LanguageLearner(language_model, _config(tokens_per_step=1_000))
    chat = [{"role": "user", "content": "what?"}, {"role": "assistant", "content": "that."}]
    learner.learn([Example(id="c", text="what?\nthat.", fields={"messages": chat})])
    (loss,) = learner.settle().text_losses
    assert loss.bytes == len("that.")
    assert loss.tokens < 10


def test_parts_that_a_language_model_lacks_are_refused() -> None:
    with pytest.raises(ConfigError, match="one side only"):
        _config(optimization={"trainable": "decoder"})
    with pytest.raises(ConfigError, match="chunk_length must be"):
        _config(chunk_length=1)


def test_a_model_of_weights_in_other_layers_trains_only_those(make_model: MakeModel) -> None:
    learner = LanguageLearner(make_model(), _config(optimization={"trainable": "lora:1-1"}))
    assert learner.training.parameters
    assert all(".layers.1." in name for name in learner.training.parameters)
