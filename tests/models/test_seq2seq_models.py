from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from everlearn.errors import ConfigError, InputError, ModelError
from everlearn.models.language.generation import GenerationSettings, generate
from everlearn.models.language.seq2seq import load_seq2seq_model
from everlearn.models.language.small_seq2seq import small_seq2seq
from everlearn.models.storage.folder import weights_sha256
from everlearn.models.storage.saving import save_model

from .tiny_models import TEXTS, byte_level_tokenizer, tiny_llama, tiny_seq2seq

SIZES: dict[str, Any] = {"vocab_size": 400, "hidden_size": 32, "layers": 2, "heads": 2, "max_length": 32}
SMALL = small_seq2seq(TEXTS, **SIZES)
WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "lazy", "dog", "and", "sleeps"]


@pytest.mark.parametrize(("kind", "max_length"), [("t5", None), ("marian", 64)])
def test_a_folder(tmp_path: Path, kind: str, max_length: int | None) -> None:
    model = tiny_seq2seq(kind)
    save_model(tmp_path / kind, model, byte_level_tokenizer())
    loaded = load_seq2seq_model(str(tmp_path / kind), dtype="float32")
    assert (loaded.name, loaded.max_length) == (kind, max_length)
    assert loaded.sha256 == weights_sha256(tmp_path / kind)
    assert not loaded.model.training
    assert loaded.model.dtype == torch.float32
    source = "the quick brown fox"
    expected = generate(model, byte_level_tokenizer(), source, GenerationSettings(max_new_tokens=8))
    assert generate(loaded.model, loaded.tokenizer, source, GenerationSettings(max_new_tokens=8)) == expected
    assert load_seq2seq_model(str(tmp_path / kind), dtype="bfloat16").model.dtype == torch.bfloat16


def test_models_of_other_kinds_are_refused(tmp_path: Path) -> None:
    save_model(tmp_path / "llama", tiny_llama(), byte_level_tokenizer())
    with pytest.raises(ModelError, match=r"causal language model \(llama\).*--task lm"):
        load_seq2seq_model(str(tmp_path / "llama"))
    with pytest.raises(ModelError, match=r"\(bert\) is not an encoder-decoder"):
        load_seq2seq_model("minilm")


def test_a_small_model_is_saved_and_loaded(tmp_path: Path) -> None:
    save_model(tmp_path / "small", SMALL.model, SMALL.tokenizer)
    loaded = load_seq2seq_model(str(tmp_path / "small"), dtype="float32")
    assert loaded.max_length == SMALL.max_length == 32
    auto_model: Any = AutoModelForSeq2SeqLM
    assert type(auto_model.from_pretrained(tmp_path / "small")) is type(SMALL.model)
    auto_tokenizer: Any = AutoTokenizer
    tokenizer = auto_tokenizer.from_pretrained(tmp_path / "small")
    for text in TEXTS:
        assert tokenizer(text)["input_ids"] == SMALL.tokenizer(text)["input_ids"]
    settings = GenerationSettings(max_new_tokens=8)
    for text in TEXTS[:4]:
        expected = generate(SMALL.model, SMALL.tokenizer, text, settings)
        assert generate(loaded.model, loaded.tokenizer, text, settings) == expected


def test_a_small_model_follows_the_seed_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    again = small_seq2seq(iter(TEXTS), **SIZES)
    assert torch.equal(torch.get_rng_state(), before)
    assert again.sha256 == SMALL.sha256
    assert again.tokenizer.get_vocab() == SMALL.tokenizer.get_vocab()
    assert small_seq2seq(TEXTS, **SIZES, seed=1).sha256 != SMALL.sha256


def test_both_sides_and_the_head_are_one_matrix() -> None:
    model = SMALL.model
    assert (
        model.lm_head.weight
        is model.model.encoder.embed_tokens.weight
        is model.model.decoder.embed_tokens.weight
    )
    assert model.config.vocab_size == len(SMALL.tokenizer) <= 400


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
@settings(deadline=None, max_examples=100)
def test_any_text_comes_back(text: str) -> None:
    ids = SMALL.tokenizer(text)["input_ids"]
    assert ids[-1] == SMALL.tokenizer.eos_token_id
    decoded = SMALL.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert decoded == text or " " + decoded == text


def test_a_small_model_learns() -> None:
    # To say the words in reverse order, with the last one left out.
    torch.manual_seed(0)
    small = small_seq2seq(TEXTS, **(SIZES | {"hidden_size": 64, "dropout": 0.0}))
    generator = torch.Generator().manual_seed(0)

    def pairs(count: int) -> list[tuple[str, str]]:
        drawn = torch.randint(len(WORDS), (count, 3), generator=generator).tolist()
        return [(" ".join(WORDS[i] for i in row), " ".join(WORDS[i] for i in row[:0:-1])) for row in drawn]

    def batch(texts: list[str]) -> torch.Tensor:
        return torch.as_tensor(small.tokenizer(texts, padding=True)["input_ids"])

    optimizer = torch.optim.AdamW(small.model.parameters(), lr=3e-3)
    for _ in range(150):
        sources, targets = zip(*pairs(32), strict=True)
        ids, labels = batch(list(sources)), batch(list(targets))
        loss = small.model(
            input_ids=ids, attention_mask=(ids != 0).long(), labels=labels.masked_fill(labels == 0, -100)
        ).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    sources, targets = zip(*pairs(20), strict=True)
    settings = GenerationSettings(max_new_tokens=16)
    found = [generate(small.model, small.tokenizer, source, settings) for source in sources]
    assert sum(text == target for text, target in zip(found, targets, strict=True)) >= 18


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"vocab_size": 100}, "vocab_size must be at least 258, not 100"),
        ({"layers": 0}, "layers"),
        ({"heads": 5}, "hidden_size must be even and a multiple of heads"),
        ({"dropout": 1.0}, "dropout"),
        ({"max_length": 1}, "max_length"),
    ],
)
def test_sizes_are_checked(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small_seq2seq(TEXTS, **(SIZES | changed))


def test_texts_are_needed() -> None:
    with pytest.raises(InputError, match="there are none"):
        small_seq2seq([], **SIZES)
