"""A tiny causal LM over words, as a language model that learners take over."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from everlearn.models.language.causal import LanguageModel

_ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())


def byte_tokenizer() -> Any:
    """One token a byte, and the special tokens <s> and </s>."""
    vocabulary = {"<s>": 0, "</s>": 1, **{letter: 2 + k for k, letter in enumerate(_ALPHABET)}}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    make: Any = PreTrainedTokenizerFast
    return make(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


def tiny_language_model(seed: int = 0, **settings: Any) -> LanguageModel:
    """Two layers of random weights; every call makes another copy of the same ones."""
    values: dict[str, Any] = {
        "vocab_size": 2 + len(_ALPHABET),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(LlamaConfig(**{**values, **settings}))
    model.train(mode=False)
    return LanguageModel(model, byte_tokenizer(), "tiny", f"{seed} {settings}", 2048)


@pytest.fixture
def make_model() -> Callable[..., LanguageModel]:
    return tiny_language_model
