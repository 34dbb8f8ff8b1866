"""A vocabulary that grows in the middle of a stream, on tiny models that read bytes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from everlearn.context import CarryConfig
from everlearn.errors import ConfigError, ModelError, StateError
from everlearn.learning.gradient import GradientConfig
from everlearn.learning.gradient.stability import StabilityConfig
from everlearn.learning.language import LanguageConfig, LanguageLearner, VocabularyConfig, dynamic_losses
from everlearn.learning.language.cross_entropy import linear_cross_entropy
from everlearn.learning.language.growing_vocabulary import GrowingVocabulary
from everlearn.learning.method import Method
from everlearn.methods import ExperienceReplay, ReplayConfig
from everlearn.methods.registry import create_method
from everlearn.models.added_rows import SplitHead
from everlearn.models.language.causal import LanguageModel
from everlearn.models.language.generation import GenerationSettings, generate
from everlearn.models.storage.saving import save_model
from everlearn.types import Boundary, Example, StepReport

MakeModel = Callable[..., LanguageModel]

_TEXT = "the whale swam around the white ship, and the sailors saw the whale. "


def _config(trainable: str = "lora", **settings: Any) -> LanguageConfig:
    optimization: dict[str, Any] = {
        "trainable": trainable,
        "learning_rate": 1e-2,
        "dtype": "float32",
        "warmup_steps": 0,
    }
    optimization |= settings.pop("optimization", {})
    vocabulary: dict[str, Any] = {"words": 4, "min_count": 3, "watch_bytes": 200, "alone_steps": 2}
    vocabulary |= settings.pop("vocabulary", {})
    values: dict[str, Any] = {
        "num_lanes": 2,
        "chunk_length": 16,
        "tokens_per_step": 32,
        "carry": CarryConfig(window=32),
        **settings,
    }
    return LanguageConfig(
        optimization=GradientConfig(**optimization), vocabulary=VocabularyConfig(**vocabulary), **values
    )


def _examples(count: int, start: int = 0, text: str = _TEXT) -> list[Example]:
    return [
        Example(id=f"e{k}", text=text, domain="sea" if k % 2 else None) for k in range(start, start + count)
    ]


def _learn(learner: LanguageLearner, count: int, start: int = 0) -> list[StepReport]:
    return [learner.learn([one]) for one in _examples(count, start)]


def _weights(learner: LanguageLearner) -> dict[str, torch.Tensor]:
    return {name: one.detach().clone() for name, one in learner.training.parameters.items()}


def _moments(learner: LanguageLearner) -> dict[str, torch.Tensor]:
    tensors = learner.training.state().tensors
    return {name: one for name, one in tensors.items() if name.startswith(("optimizer/", "average/"))}


def _grown(learner: LanguageLearner) -> StepReport:
    """Learn until the vocabulary has grown; the report of that call."""
    reports = _learn(learner, 4)
    assert [report.grown is not None for report in reports] == [False, False, False, True]
    return reports[-1]


@pytest.mark.parametrize("trainable", ["lora", "all", "layers:1-1"])
@pytest.mark.parametrize("tied", [True, False])
def test_it_grows_once_when_enough_was_watched(make_model: MakeModel, trainable: str, tied: bool) -> None:
    learner = LanguageLearner(make_model(tie_word_embeddings=tied), _config(trainable))
    before, old_tokenizer = learner.description(), learner.tokenizer
    growth = _grown(learner).grown
    assert growth is not None
    assert len(growth.words) == 4
    assert growth.num_bytes == 200  # of three texts, the third cut
    assert growth.tokens_before == 200
    assert growth.tokens_after == sum(
        len(learner.tokenizer(text, add_special_tokens=False)["input_ids"])
        for text in (_TEXT, _TEXT, _TEXT[: 200 - 2 * len(_TEXT)])
    )
    assert growth.share_saved > 0.3
    assert set(growth.tokens_per_word) == {"", "sea"}
    assert "vocabulary grown by 4 words" in str(growth)
    assert learner.description() == before
    for word in growth.words:
        assert len(learner.tokenizer(word, add_special_tokens=False)["input_ids"]) == 1
        assert len(old_tokenizer(word, add_special_tokens=False)["input_ids"]) > 1
    reports = _learn(learner, 6, start=4)
    assert all(report.grown is None for report in reports)
    # Text counts by its bytes, each once, whatever it is cut into.
    total = sum(loss.bytes for report in [*reports, learner.settle()] for loss in report.text_losses)
    waiting_before = 10 * len(_TEXT) - total
    assert 0 <= waiting_before <= 4 * len(_TEXT)
    losses = learner.score(_examples(2))
    assert sum(loss.bytes for loss in losses) == 2 * len(_TEXT)
    assert sum(loss.tokens for loss in losses) < 2 * len(_TEXT)


def test_what_waits_is_learned_and_reported_before_the_growth(make_model: MakeModel) -> None:
    learner = LanguageLearner(make_model(), _config())
    reports = [*_learn(learner, 4), learner.settle()]
    assert sum(loss.bytes for one in reports for loss in one.text_losses) == 4 * len(_TEXT)
    grown = reports[3]
    # All that waited, in the old tokens, and full rows of the new text.
    assert sum(loss.bytes for one in reports[:4] for loss in one.text_losses) >= 3 * len(_TEXT)
    assert grown.num_learned == 1
    assert learner.num_tokens == sum(one.num_tokens for one in reports)


@pytest.mark.parametrize(
    ("trainable", "methods"),
    [("lora", ()), ("all", ()), ("all", ("anchor", "orthogonal", "distillation"))],
)
def test_the_first_steps_train_the_new_rows_alone(
    make_model: MakeModel, trainable: str, methods: tuple[str, ...]
) -> None:
    for alone_steps in (3, 1_000):
        config = _config(
            trainable,
            vocabulary={"alone_steps": alone_steps},
            stability=StabilityConfig(average_decay=0.9),
        )
        learner = LanguageLearner(make_model(), config, [create_method(name, {}) for name in methods])
        _learn(learner, 3)
        learner.settle()
        learner.on_boundary(Boundary(reason="experience", num_examples=3))
        before, moments, steps = _weights(learner), _moments(learner), learner.training.num_steps
        learner.learn([Example(id="a", text="too little for a step")])
        assert learner.training.num_steps == steps
        rows = _weights(learner)["new_rows.input"]
        _learn(learner, 8, start=4)
        assert learner.training.num_steps > steps + 3
        after, now = _weights(learner), _moments(learner)
        assert after.keys() == before.keys() | {"new_rows.input"}
        assert not torch.equal(after["new_rows.input"], rows)
        assert {name for name in now if "new_rows.input" in name} >= {"average/new_rows.input"}
        for name, weight in before.items():
            assert torch.equal(after[name], weight) == (alone_steps > 3), name
        for name, one in moments.items():
            assert torch.equal(now[name], one) == (alone_steps > 3), name
        assert all(one.requires_grad for one in learner.training.parameters.values())


def test_old_rows_stay_frozen_where_they_were(make_model: MakeModel) -> None:
    learner = LanguageLearner(make_model(), _config())
    model: Any = learner.model
    embedding = model.get_input_embeddings().weight.detach().clone()
    _grown(learner)
    first = model.get_input_embeddings().new.weight.detach().clone()
    _learn(learner, 6, start=4)
    module = model.get_input_embeddings()
    assert torch.equal(module.old.weight, embedding)
    assert not torch.equal(module.new.weight, first)
    assert not module.old.weight.requires_grad


def test_rows_of_a_split_head_get_the_gradients_of_the_whole() -> None:
    generator = torch.Generator().manual_seed(0)
    states, weight = (torch.randn(*shape, generator=generator).double() for shape in ((6, 5), (9, 5)))
    labels = torch.tensor([0, 8, 7, 3, 8, 1])
    shares = torch.full((6,), 1 / 6, dtype=torch.float64)
    whole = weight.clone().requires_grad_()
    expected, _ = linear_cross_entropy(states, whole, labels, shares, softcap=5.0)
    expected.backward()  # type: ignore[no-untyped-call]
    assert whole.grad is not None
    for trains_old in (True, False):
        old, new = weight[:7].clone().requires_grad_(trains_old), weight[7:].clone().requires_grad_()
        loss, _ = linear_cross_entropy(states, old, labels, shares, softcap=5.0, new_weight_ND=new)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(new.grad, whole.grad[7:])
        assert (old.grad is not None) == trains_old
        if trains_old:
            torch.testing.assert_close(old.grad, whole.grad[:7])


def test_a_step_after_the_growth_equals_one_by_the_model_itself(make_model: MakeModel) -> None:
    """The gradient of the new rows, as input and as output, by plain transformers and by SGD."""
    config = _config(
        "all",
        num_lanes=1,
        tokens_per_step=16,
        carry=CarryConfig(window=None),
        optimization={"optimizer": "sgd", "learning_rate": 0.1, "max_gradient_norm": None},
        vocabulary={"row_learning_rate": 0.1, "alone_steps": 0},
    )
    learner = LanguageLearner(make_model(), config)
    _learn(learner, 3)
    learner.settle()
    learner.learn([Example(id="a", text="x")])  # grows
    learner.settle()
    before = _weights(learner)
    text = "the whale swam" + "0" * 40
    ids = [0, *learner.tokenizer(text, add_special_tokens=False)["input_ids"]][:17]
    assert max(ids) >= len(before["model.embed_tokens.weight"])
    model: Any = learner.model
    logits = model(input_ids=torch.tensor([ids[:-1]])).logits[0]
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]))
    parameters = learner.training.parameters
    gradients = torch.autograd.grad(loss, list(parameters.values()))
    steps = learner.training.num_steps
    fields = {"document": "d", "part": 0, "last": False}
    piece = learner.tokenizer.decode(ids[1:])
    learner.learn([Example(id="b", text=piece, fields=fields)])
    assert learner.training.num_steps == steps + 1
    for (name, weight), gradient in zip(parameters.items(), gradients, strict=True):
        torch.testing.assert_close(weight, before[name] - 0.1 * gradient, atol=2e-6, rtol=1e-4)


def _with_everything(make_model: MakeModel, trainable: str = "lora", **settings: Any) -> LanguageLearner:
    methods: list[Method] = [
        ExperienceReplay(ReplayConfig(memory_examples=20, replay_share=0.5, seed=3)),
        *(create_method(name, {}) for name in ("distillation", "anchor", "orthogonal")),
    ]
    config = _config(
        trainable,
        stability=StabilityConfig(average_decay=0.9, spike_deviations=8.0),
        optimization={"train_mode": True},
        **settings,
    )
    return LanguageLearner(make_model(), config, methods)


@pytest.mark.parametrize("trainable", ["lora", "all"])
@pytest.mark.parametrize("count", [2, 4, 6])
def test_a_restored_learner_goes_on_to_the_bit(make_model: MakeModel, trainable: str, count: int) -> None:
    """Saved while it watches, at the growth, and behind it; into learners fresh, watching and grown."""
    learner = _with_everything(make_model, trainable)
    _learn(learner, count)
    state = learner.state()
    others = [_with_everything(make_model, trainable) for _ in range(4)]
    _learn(others[1], 1, start=50)
    _learn(others[2], 6, start=50)
    for one in _examples(5, start=70, text="the seven bells ring, and seven bells again, seven bells. "):
        others[3].learn([one])
    for other in others:
        other.restore(state)
        assert other.fingerprint() == learner.fingerprint()
    for same in (learner, *others):
        same.on_boundary(Boundary(reason="experience", num_examples=count))
        _learn(same, 5, start=10)
        same.settle()
    for other in others:
        assert other.fingerprint() == learner.fingerprint()
        assert other.score(_examples(2)) == learner.score(_examples(2))
        assert other.tokenizer.get_vocab() == learner.tokenizer.get_vocab()


@pytest.mark.parametrize("trainable", ["lora", "all"])
@pytest.mark.parametrize("tied", [True, False])
def test_saved_models_say_the_same_in_transformers(
    make_model: MakeModel, tmp_path: Path, trainable: str, tied: bool
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    config = _config(trainable, stability=StabilityConfig(average_decay=0.9))
    learner = LanguageLearner(make_model(tie_word_embeddings=tied), config)
    _learn(learner, 8)
    with learner.training.averaged():
        save_model(tmp_path / "full", learner.model, learner.tokenizer)
        text = generate(learner.model, learner.tokenizer, "the whale", GenerationSettings(max_new_tokens=5))
        ids = torch.tensor([learner.tokenizer("the whale saw the whale")["input_ids"]])
        expected = learner.model(input_ids=ids).logits.detach()
    loaded: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "full")
    tokenizer: Any = AutoTokenizer.from_pretrained(tmp_path / "full")
    assert tokenizer("the whale saw the whale")["input_ids"] == ids[0].tolist()
    assert ids.max() > 257
    torch.testing.assert_close(loaded(ids).logits.detach(), expected, atol=2e-5, rtol=1e-5)
    assert (loaded.lm_head.weight is loaded.model.embed_tokens.weight) == tied
    assert loaded.config.tie_word_embeddings == tied
    assert generate(loaded, tokenizer, "the whale", GenerationSettings(max_new_tokens=5)) == text
    if trainable == "lora":
        with pytest.raises(ModelError, match="whole model"):
            save_model(tmp_path / "adapter", learner.model, learner.tokenizer, form="adapter")


def test_frozen_models_keep_their_tokenizer(make_model: MakeModel) -> None:
    learner = LanguageLearner(make_model(), _config())
    _learn(learner, 3)
    learner.settle()
    early, expected = learner.frozen(), learner.score(_examples(2))
    _learn(learner, 4, start=3)
    late, grown = learner.frozen(), learner.score(_examples(2))
    _learn(learner, 4, start=7)
    assert early.score(_examples(2)) == expected
    assert late.score(_examples(2)) == grown
    assert sum(one.tokens for one in grown) < sum(one.tokens for one in expected)
    assert learner.score(_examples(2)) != grown


def test_teachers_and_anchors_take_new_rows_as_they_came(make_model: MakeModel) -> None:
    methods = [create_method("distillation", {"on": "fresh"}), create_method("anchor", {"mode": "penalty"})]
    learner = LanguageLearner(make_model(), _config("all", vocabulary={"alone_steps": 0}), methods)
    _learn(learner, 3)
    learner.settle()
    start = _weights(learner)["model.embed_tokens.weight"]
    teacher: Any = methods[0]
    before = {name: one.clone() for name, one in teacher._teacher.tensors.items()}
    learner.learn([Example(id="x", text="y", fields={"document": "d", "part": 0, "last": False})])
    came_in = _weights(learner)["new_rows.input"]
    assert torch.equal(_weights(learner)["model.embed_tokens.weight"], start)
    _learn(learner, 4, start=4)
    assert torch.equal(teacher._teacher.tensors["new_rows.input"], came_in)
    assert all(torch.equal(teacher._teacher.tensors[name], one) for name, one in before.items())
    anchor: Any = methods[1]
    assert torch.equal(anchor._start.tensors["new_rows.input"], came_in)
    assert not torch.equal(_weights(learner)["new_rows.input"], came_in)


def test_at_a_boundary_it_grows_with_what_was_watched(make_model: MakeModel) -> None:
    learner = LanguageLearner(make_model(), _config(vocabulary={"watch_bytes": 10_000}))
    learner.on_boundary(Boundary(reason="experience", num_examples=0))  # nothing was watched yet
    assert all(one.grown is None for one in _learn(learner, 4))
    learner.on_boundary(Boundary(reason="experience", num_examples=4))
    (report,) = _learn(learner, 1, start=4)
    assert report.grown is not None
    assert report.grown.num_bytes == 4 * len(_TEXT)


def test_nothing_worth_adding_is_told_once(make_model: MakeModel) -> None:
    learner = LanguageLearner(make_model(), _config(vocabulary={"min_count": 1_000}))
    model: Any = learner.model
    before = model.get_output_embeddings()
    growth = _grown(learner).grown
    assert growth is not None
    assert growth.words == ()
    assert growth.tokens_after == growth.tokens_before
    assert "no word of the 200 bytes" in str(growth)
    assert model.get_output_embeddings() is before
    assert all(one.grown is None for one in _learn(learner, 6, start=4))
    other = LanguageLearner(make_model(), learner.config)
    other.restore(learner.state())
    assert other.fingerprint() == learner.fingerprint()


def test_forgetting_drops_what_is_watched(make_model: MakeModel) -> None:
    learner = LanguageLearner(make_model(), _config())
    secret = Example(id="secret", text="zebra zebra zebra zebra zebra zebra zebra zebra")
    learner.learn([secret, *_examples(2)])
    assert "zebra" in repr(learner.state().data)
    assert learner.forget([secret]).num_forgotten == 1
    assert "zebra" not in repr(learner.state().data)
    learner.settle()
    reports = _learn(learner, 2, start=2)
    assert reports[0].grown is None  # too little is left
    assert reports[1].grown is not None
    assert not any("zebra" in word for word in reports[1].grown.words)


def test_chats_and_pieces_are_watched_by_what_people_wrote(make_model: MakeModel) -> None:
    language_model = make_model()
    language_model.tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] + ':' + m['content'] + '\n' }}{% endfor %}"
    )
    learner = LanguageLearner(language_model, _config())
    messages = [{"role": "user", "content": _TEXT}, {"role": "assistant", "content": _TEXT}]
    chat = Example(id="c", text=None, fields={"messages": messages})
    piece = Example(id="p", text=_TEXT, fields={"document": "d", "part": 0, "last": False})
    learner.learn([chat, piece])
    report = learner.learn([Example(id="q", text=_TEXT, fields={"document": "d", "part": 1, "last": True})])
    assert report.grown is not None
    assert not any("assistant" in word for word in report.grown.words)
    assert learner.tokenizer.chat_template == language_model.tokenizer.chat_template
    learner.settle()


def test_dynamic_evaluation_does_not_grow(make_model: MakeModel) -> None:
    learner = LanguageLearner(make_model(), _config())
    _learn(learner, 3)
    before = learner.fingerprint()
    dynamic_losses(learner, _examples(6, start=20))
    assert learner.fingerprint() == before
    assert _learn(learner, 1, start=3)[0].grown is not None


@pytest.mark.parametrize(
    "settings", [{"optimization": {"dtype": "bfloat16"}}, {"gradient_checkpointing": True}]
)
def test_in_reduced_precision_and_with_checkpointed_layers(
    make_model: MakeModel, settings: dict[str, Any]
) -> None:
    learner = LanguageLearner(make_model(), _config(**settings))
    _grown(learner)
    rows = _weights(learner)["new_rows.input"]
    assert rows.dtype == torch.float32
    _learn(learner, 4, start=4)
    assert not torch.equal(_weights(learner)["new_rows.input"], rows)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adagrad", "adamw"])
def test_every_optimizer_takes_the_new_rows(make_model: MakeModel, optimizer: str) -> None:
    learner = LanguageLearner(make_model(), _config("all", optimization={"optimizer": optimizer}))
    _grown(learner)
    rows = _weights(learner)["new_rows.input"]
    _learn(learner, 4, start=4)
    assert not torch.equal(_weights(learner)["new_rows.input"], rows)
    other = LanguageLearner(make_model(), learner.config)
    other.restore(learner.state())
    for one in (learner, other):
        _learn(one, 2, start=8)
    assert other.fingerprint() == learner.fingerprint()


def test_rows_without_token_make_room(make_model: MakeModel) -> None:
    learner = LanguageLearner(make_model(vocab_size=300), _config("all"))
    model: Any = learner.model
    assert model.get_input_embeddings().num_embeddings == 258
    _grown(learner)
    head = model.get_output_embeddings()
    assert isinstance(head, SplitHead)
    assert head.first_row == 258


def test_what_cannot_grow_is_refused_at_once(make_model: MakeModel) -> None:
    from everlearn.context.rnn import RnnLanguageModel

    with pytest.raises(ModelError, match="no model of transformers"):
        GrowingVocabulary(RnnLanguageModel(258, 8), make_model().tokenizer, VocabularyConfig(words=3))
    language_model = make_model()
    language_model.model.lm_head = torch.nn.Sequential(torch.nn.Linear(32, 258))
    with pytest.raises(ModelError, match="not Embedding and Sequential"):
        LanguageLearner(language_model, _config())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("words", -1), ("min_count", 0), ("watch_bytes", 0), ("alone_steps", True)),
        *(("row_passes", -1), ("row_learning_rate", 0.0)),
    ],
)
def test_wrong_settings_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        VocabularyConfig(**{name: value})


def test_damaged_states_are_refused(make_model: MakeModel) -> None:
    learner = LanguageLearner(make_model(), _config())
    _grown(learner)
    state = learner.state()
    for damaged in (None, {}, {"watched": [], "is_at_boundary": False, "growth": {"words": ["a"]}}):
        data = {**state.data, "vocabulary": damaged}
        with pytest.raises(StateError, match="damaged"):
            LanguageLearner(make_model(), _config()).restore(type(state)(state.tensors, data))
    with pytest.raises(StateError, match="the state has config"):
        LanguageLearner(make_model(), _config(vocabulary={"words": 0})).restore(state)
