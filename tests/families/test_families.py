"""Every family of the table: transformers' own losses and gradients, carried context, exports, resuming."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.families.table import FAMILIES, build
from tests.models.tiny_models import byte_level_tokenizer
from torch import Tensor
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from everlearn.context import CarryConfig
from everlearn.errors import ModelError
from everlearn.learning.gradient import GradientConfig
from everlearn.learning.language import LanguageConfig, LanguageLearner
from everlearn.models.language.causal import load_language_model
from everlearn.models.storage.saving import save_model
from everlearn.types import Example, TextLoss

_STORY = (
    "the quick brown fox jumps over the lazy dog, and the dog sleeps on while the fox, who has seen such "
    "dogs before, goes round the house and takes two eggs; 3 eggs were there, 1 is left, and nobody counts."
)
_SHORT = "def f(x): return x + 1 # eggs"
_RATE = 0.05


@pytest.fixture(params=FAMILIES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(name: str, tmp_path: Path) -> Path:
    build(FAMILIES[name], tmp_path / "model", byte_level_tokenizer(chat=False))
    return tmp_path / "model"


@pytest.fixture(autouse=True)
def _peft_may_warn() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", message="The following (rank|alpha)_pattern keys")
        yield


def _learner(folder: Path, trainable: str, carry: CarryConfig, chunk_length: int) -> LanguageLearner:
    optimization = GradientConfig(
        trainable=trainable,
        optimizer="sgd",
        learning_rate=_RATE,
        warmup_steps=0,
        max_gradient_norm=None,
        dtype="float32",
    )
    config = LanguageConfig(
        num_lanes=2,
        chunk_length=chunk_length,
        tokens_per_step=10_000,
        carry=carry,
        optimization=optimization,
        # Nothing of what follows may change by it.
        gradient_checkpointing=trainable == "lora",
    )
    return LanguageLearner(load_language_model(str(folder), dtype="float32", device="cpu"), config)


def _carry(name: str) -> CarryConfig:
    return CarryConfig(window=None) if FAMILIES[name].refusal is None else CarryConfig(kind="none")


def _plain(folder: Path) -> Any:
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval()


def _loss(model: Any, text: str, tokenizer: Any) -> Any:
    """That of transformers: the mean over the tokens of a document."""
    ids = torch.tensor([[0, *tokenizer(text, add_special_tokens=False)["input_ids"], 1]])
    # Not every model can fill its own cache.
    return model(input_ids=ids, labels=ids, use_cache=False).loss


def _score(learner: LanguageLearner, text: str) -> float:
    (loss,) = learner.score([Example(id="scored", text=text)])
    return _mean(loss)


def _mean(loss: TextLoss) -> float:
    return loss.nats / loss.tokens


def test_losses_and_gradients_are_those_of_transformers(name: str, folder: Path) -> None:
    learner = _learner(folder, "all", CarryConfig(kind="none"), 256)
    plain = _plain(folder)
    loss = _loss(plain, _STORY, learner.tokenizer)
    assert _score(learner, _STORY) == pytest.approx(loss.item(), rel=1e-4)
    loss.backward()
    learner.learn([Example(id="a", text=_STORY)])
    learner.settle()
    learned = dict(learner.model.named_parameters())
    gradients = {key: one.grad for key, one in plain.named_parameters() if one.grad is not None}
    for key, gradient in gradients.items():
        made = (plain.get_parameter(key) - learned[key].detach()) / _RATE
        # A difference of float32 weights by a small rate has the rounding of the weights.
        allowed = 2e-3 * gradient.norm() + 1e-5 * plain.get_parameter(key).norm() + 1e-7
        assert (made - gradient).norm() <= allowed, key
    assert len(gradients) > 5
    assert _score(learner, _STORY) < loss.item()


def test_adapters_are_learned_carried_exported_and_resumed(name: str, folder: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    refusal = FAMILIES[name].refusal
    if refusal is not None:
        with pytest.raises(ModelError, match=rf"{refusal}.*--carry none"):
            _learner(folder, "lora", CarryConfig(window=None), 32)
    chunk_length = 32 if refusal is None else 256
    learner = _learner(folder, "lora", _carry(name), chunk_length)
    plain, tokenizer = _plain(folder), learner.tokenizer
    # Ragged: the lanes carry documents of different lengths, and one begins in the middle of a row.
    texts = {"a": _STORY, "b": _SHORT, "c": _STORY[50:]}
    read = learner.score([Example(id=key, text=text, domain=key) for key, text in texts.items()])
    for loss, text in zip(read, texts.values(), strict=True):
        assert _mean(loss) == pytest.approx(_loss(plain, text, tokenizer).item(), rel=2e-4)

    before = {key: one.detach().clone() for key, one in learner.training.parameters.items()}
    learner.learn([Example(id="a", text=_SHORT)])
    learner.settle()
    _loss(plain, _SHORT, tokenizer).backward()
    assert _updates_are_of_the_gradient(plain, before, learner.training.parameters) > 0

    learner.learn([Example(id="b", text=_STORY)])
    learner.settle()
    resumed = _learner(folder, "lora", _carry(name), chunk_length)
    resumed.restore(learner.state())
    for going_on in (learner, resumed):
        going_on.learn([Example(id="c", text=_STORY), Example(id="d", text=_SHORT)])
        going_on.settle()
    assert resumed.fingerprint() == learner.fingerprint()

    with torch.no_grad():
        for key, one in learner.training.parameters.items():
            # Far from 0, so that a lost adapter is seen. What learned nothing is not run by its model.
            if ".lora_B." in key and one.any():
                one.normal_(std=0.1)
    served = _score(learner, _STORY)
    save_model(tmp_path / "full", learner.model, tokenizer, form="full")
    save_model(tmp_path / "adapter", learner.model, tokenizer, form="adapter", base_model=str(folder))
    adapted = PeftModel.from_pretrained(_plain(folder), tmp_path / "adapter").eval()
    with torch.no_grad():
        assert _loss(_plain(tmp_path / "full"), _STORY, tokenizer).item() == pytest.approx(served, rel=2e-4)
        assert _loss(adapted, _STORY, tokenizer).item() == pytest.approx(served, rel=2e-4)


def _updates_are_of_the_gradient(
    plain: Any, before: dict[str, Tensor], after: dict[str, torch.nn.Parameter]
) -> int:
    """B starts at 0, so that the first step moves it by -rate · scaling · (dL/dW) Aᵀ. How many moved?"""
    moved = 0
    for key, down in before.items():
        if ".lora_A." not in key:
            continue
        layer = plain.get_submodule(key.split(".lora_A.")[0].replace(".base_layer", ""))
        # Adapters of fused experts have another rule; what they learn shows in the exports.
        gradient = layer.weight.grad if hasattr(layer, "weight") else None
        up = after[key.replace(".lora_A.", ".lora_B.")].detach()
        if gradient is None or not up.any():
            continue
        if isinstance(layer, Conv1D):
            gradient = gradient.T
        # As many times as alpha is larger than the rank.
        expected = -_RATE * 2 * gradient @ down.T
        assert (up - expected).norm() <= 5e-3 * expected.norm() + 1e-7, key
        moved += 1
    return moved
