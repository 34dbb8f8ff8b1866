"""Learning on a CUDA device gives what the processor gives, to rounding; states move between both.

These tests need a device and are left out where there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.context.tiny_models import RECURRENT, run_of, tokens, whole_states
from tests.learning_gradient.conftest import tiny_trunk  # noqa: F401 - a fixture
from tests.learning_language.conftest import tiny_language_model
from tests.learning_seq2seq.conftest import MakeModel, make_model  # noqa: F401 - a fixture
from tests.learning_seq2seq.pairs_of_words import batches, word_pairs
from torch import nn

from everlearn.context import CarryConfig, Lanes, Rows, make_carry
from everlearn.context.rnn import RnnLanguageModel
from everlearn.learning.gradient import GradientConfig, GradientLearner
from everlearn.learning.language import LanguageConfig, LanguageLearner
from everlearn.learning.seq2seq import Seq2SeqConfig, Seq2SeqLearner
from everlearn.methods import create_method
from everlearn.models.encoder.load import Trunk
from everlearn.models.language.causal import LanguageModel
from everlearn.models.language.generation import GenerationSettings, generate
from everlearn.types import Example

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")

_TEXTS = [
    "the cat sat on the mat and the dog lay on the rug, and nobody said a word about it",
    "a ship, a sea, and a whale that was white",
    "short",
    "rain in the morning, sun in the evening, and wind all day long over the hills",
]
_METHODS = {"replay": {"memory_examples": 20, "replay_share": 0.5}, "distillation": {}, "anchor": {}}


@pytest.fixture(autouse=True)
def _exact_products() -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


def _examples(name: str) -> list[Example]:
    return [Example(id=f"{name}{k}", text=text) for k, text in enumerate(_TEXTS)]


def _language_learner(device: str, **settings: Any) -> LanguageLearner:
    made = tiny_language_model()
    model = LanguageModel(made.model.to(device), made.tokenizer, made.name, made.sha256, made.max_length)
    values = {"trainable": "all", "learning_rate": 1e-3, "dtype": "float32", "warmup_steps": 0, **settings}
    config = LanguageConfig(
        num_lanes=2,
        chunk_length=16,
        tokens_per_step=32,
        carry=CarryConfig(window=24, sinks=2),
        optimization=GradientConfig(**values),
    )
    return LanguageLearner(model, config, [create_method(name, one) for name, one in _METHODS.items()])


def _nats(learner: LanguageLearner, examples: list[Example]) -> list[float]:
    reports = [learner.learn(examples), learner.settle()]
    return [one.nats for report in reports for one in report.text_losses]


@pytest.mark.parametrize("settings", [{}, {"trainable": "lora", "lora_rank": 4}], ids=str)
def test_language_model(settings: dict[str, Any]) -> None:
    if settings.get("trainable") == "lora":
        pytest.importorskip("peft")
    processor, gpu = (_language_learner(device, **settings) for device in ("cpu", "cuda"))
    for name in ("a", "b"):
        assert _nats(gpu, _examples(name)) == pytest.approx(_nats(processor, _examples(name)), rel=1e-4)
    for name, weight in processor.training.parameters.items():
        torch.testing.assert_close(
            gpu.training.parameters[name].cpu(), weight, atol=5e-4, rtol=1e-3, msg=lambda text: text
        )
    state = gpu.state()
    assert all(tensor.device.type == "cpu" for tensor in state.tensors.values())
    other = _language_learner("cpu", **settings)
    other.restore(state)
    again = _language_learner("cuda", **settings)
    again.restore(state)
    assert again.fingerprint() == gpu.fingerprint()
    expected = _nats(gpu, _examples("c"))
    assert _nats(other, _examples("c")) == pytest.approx(expected, rel=1e-3)
    assert _nats(again, _examples("c")) == pytest.approx(expected, rel=1e-3)


def test_bfloat16_language_model_learns() -> None:
    learner = _language_learner("cuda", dtype="bfloat16")
    first = sum(_nats(learner, _examples("a")))
    for name in "bcdefgh":
        last = sum(_nats(learner, _examples(name)))
    assert last < 0.95 * first


def test_generation_is_the_same() -> None:
    texts = []
    for device in ("cpu", "cuda"):
        made = tiny_language_model()
        texts.append(
            generate(made.model.to(device), made.tokenizer, "the cat", GenerationSettings(max_new_tokens=12))
        )
    assert texts[0] == texts[1]


def test_encoder_decoder(make_model: MakeModel) -> None:  # noqa: F811
    def learner_on(device: str) -> Seq2SeqLearner:
        made = make_model()
        optimization = GradientConfig(dtype="float32", learning_rate=1e-3, warmup_steps=0)
        return Seq2SeqLearner(
            replace(made, model=made.model.to(device)),
            Seq2SeqConfig(optimization=optimization),
            [create_method("replay", {"memory_examples": 10, "num_replayed": 3})],
        )

    processor, gpu = learner_on("cpu"), learner_on("cuda")
    for batch in batches(4):
        expected, found = processor.learn(batch), gpu.learn(batch)
        assert found.loss == pytest.approx(expected.loss, rel=1e-3)
    pairs = word_pairs(8, seed=9)
    assert [one.label for one in gpu.predict(pairs)] == [one.label for one in processor.predict(pairs)]
    other = learner_on("cpu")
    other.restore(gpu.state())
    assert other.learn(pairs).loss == pytest.approx(gpu.learn(pairs).loss, rel=1e-3)


def test_text_classifier(tiny_trunk: Trunk) -> None:  # noqa: F811
    def learner_on(device: str) -> GradientLearner:
        model = type(tiny_trunk.model)(tiny_trunk.model.config)
        model.load_state_dict(tiny_trunk.model.state_dict())
        model.train(False).requires_grad_(False)
        trunk = replace(tiny_trunk, model=model.to(device), device=torch.device(device))
        config = GradientConfig(dtype="float32", learning_rate=1e-3, warmup_steps=0)
        return GradientLearner.for_text(trunk, config, [create_method("replay", {"memory_examples": 8})])

    processor, gpu = learner_on("cpu"), learner_on("cuda")
    rows = [
        Example(id=str(number), text=text, target=label)
        for number, (text, label) in enumerate(
            [("i want to fly", "travel"), ("pay my bill", "money"), ("the weather today", "weather")] * 4
        )
    ]
    for start in range(0, len(rows), 3):
        expected = processor.learn(rows[start : start + 3]).loss
        assert gpu.learn(rows[start : start + 3]).loss == pytest.approx(expected, rel=1e-3)
    other = learner_on("cpu")
    other.restore(gpu.state())
    for mine, theirs in zip(other.predict(rows), gpu.predict(rows), strict=True):
        assert mine.label == theirs.label
        assert mine.probabilities == pytest.approx(theirs.probabilities, abs=1e-4)


def _rnn() -> nn.Module:
    torch.manual_seed(0)
    return RnnLanguageModel(97, hidden=32, num_layers=2)


@pytest.mark.parametrize("make", [*RECURRENT.values(), _rnn], ids=[*RECURRENT, "rnn"])
def test_recurrent_state(make: Callable[[], nn.Module]) -> None:
    ids = tokens(50)
    expected = whole_states(make().eval(), ids)
    model = make().eval().to("cuda")
    carry = make_carry(model, CarryConfig(), 1)
    lanes = Lanes(1, 16, carry.one_document_per_row)
    lanes.add(run_of("a", ids))
    found = []
    with torch.no_grad():
        while (chunk := lanes.take(10_000, flush=True)) is not None:
            rows = Rows.from_chunk(chunk, "cuda")
            result = carry.forward(model, rows)
            carry.advance(rows, result)
            found += [result.states_RLH[span.row, span.start : span.stop].cpu() for span in chunk.spans]
    torch.testing.assert_close(torch.cat(found), expected, atol=1e-3, rtol=1e-3)
