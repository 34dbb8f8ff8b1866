from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from everlearn.errors import ConfigError
from everlearn.models.vocabulary import grow, prune

from .tiny_models import TEXTS, byte_fallback_tokenizer, byte_level_tokenizer, tiny_llama, unigram_tokenizer
from .wordpiece_models import tiny_bert, wordpiece_tokenizer

SEEN = [TEXTS[0], TEXTS[1], "the brown dog"]
MAKERS = [byte_level_tokenizer, byte_fallback_tokenizer, unigram_tokenizer, wordpiece_tokenizer]


def used_ids(tokenizer: Any) -> set[int]:
    return {id_ for text in SEEN for id_ in tokenizer.encode(text)}


@pytest.mark.parametrize("make", MAKERS)
def test_texts_of_kept_tokens_are_tokenised_as_before(make: Any) -> None:
    tokenizer = make()
    # A merge or an entry that comes from growth is pruned as any other.
    tokenizer = grow(tiny_llama(len(tokenizer)), tokenizer, ["jumps", " brown", "abc"]).tokenizer
    model = tiny_llama(len(tokenizer) + 5)
    before = model.get_input_embeddings().weight.clone()
    pruning = prune(model, tokenizer, used_ids(tokenizer))
    smaller = pruning.tokenizer
    assert 0 < len(smaller) < len(tokenizer)
    assert pruning.num_removed == len(before) - len(smaller)
    for text in SEEN:
        assert smaller.tokenize(text) == tokenizer.tokenize(text)
        ids = tokenizer.encode(text)
        assert smaller.encode(text) == [pruning.new_ids[id_] for id_ in ids]
    weight = model.get_input_embeddings().weight
    assert torch.equal(weight, before[list(pruning.new_ids)])
    for text in TEXTS:
        ids = smaller.encode(text)
        assert max(ids) < len(weight)
        assert smaller.decode(ids, skip_special_tokens=True) == tokenizer.decode(
            tokenizer.encode(text), skip_special_tokens=True
        )


PRUNED = prune(tiny_llama(), byte_level_tokenizer(), used_ids(byte_level_tokenizer())).tokenizer


@given(st.text(max_size=30))
def test_every_text_can_still_be_written(text: str) -> None:
    assert PRUNED.decode(PRUNED.encode(text, add_special_tokens=False)) == text


@pytest.mark.parametrize("tied", [True, False])
def test_a_pruned_model_says_the_same(tied: bool, tmp_path: Path) -> None:
    tokenizer, model = byte_level_tokenizer(), tiny_llama(tie_word_embeddings=tied)
    ids = torch.tensor([tokenizer.encode(SEEN[0])])
    logits = model(ids).logits
    pruning = prune(model, tokenizer, used_ids(tokenizer))
    new_ids = torch.tensor([pruning.tokenizer.encode(SEEN[0])])
    assert (model.get_input_embeddings().weight is model.get_output_embeddings().weight) == tied
    torch.testing.assert_close(model(new_ids).logits, logits[..., list(pruning.new_ids)])

    model.save_pretrained(tmp_path)
    pruning.tokenizer.save_pretrained(tmp_path)
    loaded: Any = AutoModelForCausalLM.from_pretrained(tmp_path)
    read: Any = AutoTokenizer.from_pretrained(tmp_path)
    assert read.encode(SEEN[0]) == new_ids[0].tolist()
    assert torch.equal(loaded(new_ids).logits, model(new_ids).logits)
    assert loaded.config.vocab_size == len(pruning.new_ids)


def test_ids_in_settings_follow() -> None:
    tokenizer = wordpiece_tokenizer()
    model = tiny_bert(len(tokenizer) + 1, pad_token_id=0)
    model.config.sep_token_id = tokenizer.sep_token_id
    inputs = tokenizer(["the saw", "saw the zebra"], padding=True, return_tensors="pt")
    states = model(**inputs).last_hidden_state
    keep = {tokenizer.convert_tokens_to_ids(token) for token in ("the", "saw", "ze", "##bra")}
    # Of the special tokens only the padding changes its place, when one before it goes.
    pruning = prune(model, tokenizer, keep)
    names = ("pad_token_id", "sep_token_id", "cls_token_id", "mask_token_id")
    for name in names:
        assert getattr(pruning.tokenizer, name) == pruning.new_ids[getattr(tokenizer, name)]
    assert model.config.sep_token_id == pruning.tokenizer.sep_token_id
    assert model.get_input_embeddings().padding_idx == pruning.tokenizer.pad_token_id
    again = pruning.tokenizer(["the saw", "saw the zebra"], padding=True, return_tensors="pt")
    torch.testing.assert_close(model(**again).last_hidden_state, states)
    # "##fish" is spelled with letters that are no entries, so that nothing else could write them.
    assert "##fish" in pruning.tokenizer.get_vocab()


def test_begin_and_end_that_stood_behind_dropped_tokens() -> None:
    from tokenizers import processors

    tokenizer = byte_level_tokenizer()
    tokenizer.add_special_tokens({"eos_token": "<|eos|>"})
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <|eos|>", special_tokens=[("<|eos|>", tokenizer.eos_token_id)]
    )
    model = tiny_llama(len(tokenizer))
    model.config.eos_token_id = [1, tokenizer.eos_token_id]
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    pruning = prune(model, tokenizer, used_ids(tokenizer))
    eos = pruning.tokenizer.eos_token_id
    assert eos == len(pruning.tokenizer) - 1 < tokenizer.eos_token_id
    assert pruning.tokenizer.encode("the")[-1] == eos
    assert (model.config.eos_token_id, model.generation_config.eos_token_id) == ([1, eos], eos)


def test_an_unknown_id_is_refused() -> None:
    with pytest.raises(ConfigError, match="no token of id 9999"):
        prune(tiny_llama(), byte_level_tokenizer(), [1, 9999])
