from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from everlearn.errors import ModelError
from everlearn.models.encoder.load import load_trunk
from everlearn.models.vocabulary import VocabularyWatch, grow, propose
from everlearn.models.vocabulary.calibration import calibrate_rows, frequency_offsets
from everlearn.models.vocabulary.insertion import insert_words
from everlearn.models.vocabulary.tokenizer_file import TokenizerFile, rebuild_tokenizer

from .tiny_models import byte_fallback_tokenizer, byte_level_tokenizer, tiny_llama, unigram_tokenizer
from .wordpiece_models import tiny_bert, wordpiece_tokenizer

WORDS = ["春", "春花", "café", " zebrafish", "é", "ëë", "月", " 4711", "zebra fish", "", " the"]
TEXTS = [
    "春花秋月 café zebrafish",
    "the zebrafish's café 42",
    "ëëë é 月月",
    "<|start|>春",
    "\n zebrafish  春 ",
]
ALPHABET = st.text(st.sampled_from([*"春花秋月éë zebrafish42\n'.", "\U0001f917", "\x00"]), max_size=40)


def grown_byte_level() -> tuple[Any, Any, Any]:
    old = byte_level_tokenizer()
    insertion = insert_words(old, WORDS)
    return old, rebuild_tokenizer(old, insertion.file.write()), insertion


OLD, NEW, INSERTION = grown_byte_level()


def expand(ids: list[int]) -> list[int]:
    return [piece for id_ in ids for piece in INSERTION.pieces.get(id_, (id_,))]


def test_words_become_one_token() -> None:
    for word in ("春", "春花", "café", " zebrafish", "é", "ëë", "月", " 4711"):
        assert NEW.encode(word, add_special_tokens=False) == [INSERTION.words[word]]
        assert NEW.decode([INSERTION.words[word]]) == word
    assert INSERTION.left_out == {"": "it is empty", " the": "it is one token already"}
    assert list(INSERTION.pieces) == list(range(len(OLD), len(OLD) + len(INSERTION.pieces)))
    assert NEW.get_vocab().items() >= OLD.get_vocab().items()


@given(ALPHABET)
def test_text_comes_back_and_new_tokens_stand_for_old_ones(text: str) -> None:
    ids = NEW.encode(text, add_special_tokens=False)
    assert NEW.decode(ids) == text
    assert expand(ids) == OLD.encode(text, add_special_tokens=False)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.text(st.sampled_from("春花秋月éab"), min_size=1, max_size=4), max_size=6))
def test_any_words_in_any_order(words: list[str]) -> None:
    tokenizer = byte_fallback_tokenizer() if len(words) % 2 else OLD
    insertion = insert_words(tokenizer, words)
    new = rebuild_tokenizer(tokenizer, insertion.file.write())
    assert set(insertion.words) | set(insertion.left_out) == set(words)
    file = TokenizerFile.read(new)
    for word, id_ in insertion.words.items():
        # In the model's own view, where no space is put before the word.
        assert [token.id for token in new.backend_tokenizer.model.tokenize(file.form(word))] == [id_]


def test_saved_and_loaded_tokenizers_are_the_same(tmp_path: Path) -> None:
    NEW.save_pretrained(tmp_path)
    loaded: Any = AutoTokenizer.from_pretrained(tmp_path)
    for text in TEXTS:
        assert loaded.encode(text) == NEW.encode(text)
    assert loaded.bos_token == OLD.bos_token
    assert loaded.chat_template == OLD.chat_template


def test_an_added_token_behind_the_vocabulary_keeps_its_id() -> None:
    tokenizer = byte_level_tokenizer()
    tokenizer.add_tokens(["<|tool|>"])
    tokenizer.add_special_tokens({"pad_token": "<|pad|>"})
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in ("<|tool|>", "<|pad|>")}
    assert min(ids.values()) == len(tokenizer) - 2
    growth = grow(tiny_llama(len(tokenizer)), tokenizer, ["春花"])
    assert {token: growth.tokenizer.convert_tokens_to_ids(token) for token in ids} == ids
    assert growth.first_row == len(tokenizer)
    assert growth.tokenizer.decode(growth.tokenizer.encode("春花<|tool|>春花")) == "春花<|tool|>春花"
    assert len(growth.tokenizer.encode("春花<|tool|>春花")) == 3


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("padded_rows", [0, 3, 64])
def test_rows_of_a_causal_model(tied: bool, padded_rows: int, tmp_path: Path) -> None:
    tokenizer = byte_level_tokenizer()
    model = tiny_llama(len(tokenizer) + padded_rows, tie_word_embeddings=tied)
    before = [model.get_input_embeddings().weight.clone(), model.get_output_embeddings().weight.clone()]
    ids = torch.tensor([tokenizer.encode("the quick brown fox")])
    logits = model(ids).logits[..., : len(tokenizer)]

    growth = grow(model, tokenizer, ["春花", " zebrafish"])

    weights = [model.get_input_embeddings().weight, model.get_output_embeddings().weight]
    assert (weights[0] is weights[1]) == tied
    assert growth.num_rows > 2
    assert len(weights[0]) == max(len(tokenizer) + padded_rows, len(tokenizer) + growth.num_rows)
    assert model.config.vocab_size == len(weights[0])
    for old, new in zip(before, weights, strict=True):
        assert torch.equal(new[: len(tokenizer)], old[: len(tokenizer)])
        for id_, pieces in growth.pieces.items():
            torch.testing.assert_close(new[id_], old[list(pieces)].mean(0))
    torch.testing.assert_close(model(ids).logits[..., : len(tokenizer)], logits)

    model.save_pretrained(tmp_path)
    growth.tokenizer.save_pretrained(tmp_path)
    loaded: Any = AutoModelForCausalLM.from_pretrained(tmp_path)
    read: Any = AutoTokenizer.from_pretrained(tmp_path)
    ids = torch.tensor([read.encode("春花 and the zebrafish")])
    assert growth.words["春花"] in ids
    assert torch.equal(loaded(ids).logits, model(ids).logits)
    assert (loaded.get_input_embeddings().weight is loaded.get_output_embeddings().weight) == tied


def test_growth_is_a_function_of_the_stream() -> None:
    def run() -> tuple[Any, Any, Any]:
        tokenizer = byte_level_tokenizer()
        watch = VocabularyWatch(tokenizer)
        for text in TEXTS * 5:
            watch.update(text)
        model = tiny_llama()
        growth = grow(model, tokenizer, propose(watch, 6))
        return growth.words, growth.pieces, model.get_input_embeddings().weight

    (words, pieces, weight), (same_words, same_pieces, same_weight) = run(), run()
    assert (words, pieces) == (same_words, same_pieces)
    assert len(words) == 6
    assert torch.equal(weight, same_weight)


def test_growing_twice() -> None:
    tokenizer, model = byte_level_tokenizer(), tiny_llama()
    first = grow(model, tokenizer, ["春"])
    second = grow(model, first.tokenizer, ["春花", "春"])
    assert second.left_out == {"春": "it is one token already"}
    assert second.first_row == first.first_row + first.num_rows
    assert first.words["春"] in second.pieces[second.words["春花"]]
    nothing = grow(model, second.tokenizer, ["春花"])
    assert (nothing.num_rows, nothing.tokenizer) == (0, second.tokenizer)


def test_unigram() -> None:
    tokenizer, model = unigram_tokenizer(), tiny_llama(150)
    words = [" zebra", "ebr", "春"]
    growth = grow(model, tokenizer, words)
    assert growth.left_out == {"春": "a part of it is unknown to the tokenizer"}
    tokens = growth.tokenizer.tokenize("the zebra")
    assert tokens[-1] == "▁zebra"
    assert growth.tokenizer.decode(growth.tokenizer.encode("the zebra")) == "the zebra"
    assert len(growth.tokenizer.tokenize("ebr")) <= len(tokenizer.tokenize("ebr"))


def test_new_names_for_an_encoder() -> None:
    tokenizer = wordpiece_tokenizer()
    model = tiny_bert(len(tokenizer))
    before = model.get_input_embeddings().weight.clone()
    ids = tokenizer("the zebra saw", return_tensors="pt")
    states = model(**ids).last_hidden_state

    growth = grow(model, tokenizer, ["zebrafish", "acab", "the", "qqq"])

    assert growth.left_out == {"the": "it is one token already"}
    assert growth.tokenizer.tokenize("Zebrafish, zebrafisha") == ["zebrafish", "[UNK]", "zebrafish", "##a"]
    weight = model.get_input_embeddings().weight
    assert torch.equal(weight[: len(before)], before)
    pieces = tokenizer.encode("zebrafish", add_special_tokens=False)
    torch.testing.assert_close(weight[growth.words["zebrafish"]], before[pieces].mean(0))
    # A word that could not be read at all begins where the unknown token is.
    assert torch.equal(weight[growth.words["qqq"]], before[tokenizer.unk_token_id])
    torch.testing.assert_close(model(**ids).last_hidden_state, states)


def test_new_names_for_minilm(tmp_path: Path) -> None:
    trunk = load_trunk("minilm", dtype="float32")
    watch = VocabularyWatch(trunk.tokenizer)
    for _ in range(5):
        watch.update("Our Kubernetes cluster rejects the Grafana token; Kubernetes restarts.")
    words = propose(watch, 2)
    assert words == ["kubernetes", "grafana"]
    text = "the kubernetes cluster"
    old_ids = trunk.tokenizer(text, return_tensors="pt")
    growth = grow(trunk.model, trunk.tokenizer, words)
    new_ids = growth.tokenizer(text, return_tensors="pt")
    assert new_ids["input_ids"].shape[1] < old_ids["input_ids"].shape[1]
    with torch.inference_mode():
        old = trunk.model(**old_ids).last_hidden_state.mean(1)
        new = trunk.model(**new_ids).last_hidden_state.mean(1)
    assert torch.cosine_similarity(old, new).item() > 0.6
    trunk.model.save_pretrained(tmp_path)  # type: ignore[operator]
    growth.tokenizer.save_pretrained(tmp_path)
    loaded = load_trunk(str(tmp_path), dtype="float32")
    assert loaded.tokenizer.tokenize(text) == ["the", "kubernetes", "cluster"]
    with torch.inference_mode():
        assert torch.equal(loaded.model(**new_ids).last_hidden_state.mean(1), new)


def test_an_embedding_that_cannot_grow() -> None:
    class NoEmbedding(torch.nn.Module):
        def get_input_embeddings(self) -> Any:
            return torch.nn.Linear(2, 2)

        def get_output_embeddings(self) -> Any:
            return None

    with pytest.raises(ModelError, match="not Linear and NoneType"):
        grow(NoEmbedding(), byte_level_tokenizer(), ["春"])
    with pytest.raises(ModelError, match="fast tokenizer"):
        grow(tiny_llama(), object(), ["春"])


def test_offsets_make_tokens_as_probable_as_they_are_frequent() -> None:
    generator = torch.Generator().manual_seed(0)
    old_TV, new_TN = torch.randn(200, 7, generator=generator), torch.randn(200, 3, generator=generator)
    counts_N = torch.tensor([40.0, 5.0, 0.0])
    offsets_N = frequency_offsets(old_TV.logsumexp(dim=1), new_TN, counts_N)
    probabilities = torch.cat([old_TV, new_TN + offsets_N], dim=1).softmax(dim=1)
    torch.testing.assert_close(probabilities.sum(0)[7:], torch.tensor([40.0, 5.0, 0.5]), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("tied", [True, False])
def test_calibrated_rows_predict_seen_texts_better(tied: bool) -> None:
    tokenizer, model = byte_level_tokenizer(), tiny_llama(tie_word_embeddings=tied)
    growth = grow(model, tokenizer, ["春花", " zebrafish", "月"])
    before = model.get_output_embeddings().weight.detach().clone()
    ids = torch.tensor([growth.tokenizer.encode("春花月月 the zebrafish the quick fox 月月")])
    labels = torch.cat([ids[:, 1:], torch.tensor([[-100]])], dim=1)

    def nats() -> float:
        logits = model(ids).logits.detach()
        return torch.nn.functional.cross_entropy(logits[0], labels[0]).item()

    first = nats()
    offsets_N = calibrate_rows(model, growth.first_row, ids, labels)
    # Where rows are tied the states move along, which matters only where they are as small as here.
    assert tied or nats() < first
    assert offsets_N.shape == (growth.num_rows,)
    assert torch.equal(model.get_output_embeddings().weight[: growth.first_row], before[: growth.first_row])
    assert (model.get_input_embeddings().weight is model.get_output_embeddings().weight) == tied
