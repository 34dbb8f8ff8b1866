from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from tests.learning_seq2seq.pairs_of_words import WORDS
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    MarianConfig,
    MarianMTModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from everlearn.models.language.seq2seq import Seq2SeqModel

MAX_LENGTH = 24

MakeModel = Callable[..., Seq2SeqModel]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make_tokenizer(extra: tuple[str, ...] = ()) -> Any:
    words = dict.fromkeys(["<pad>", "</s>", "<unk>", *WORDS, *WORDS.values(), *extra])
    vocabulary = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


def _make(kind: str = "marian", seed: int = 0, dropout: float = 0.0) -> Seq2SeqModel:
    tokenizer = make_tokenizer()
    tokens: dict[str, Any] = {
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
        "vocab_size": len(tokenizer),
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if kind == "marian":
            sides: dict[str, Any] = {
                f"{side}_{name}": value
                for side in ("encoder", "decoder")
                for name, value in (("layers", 2), ("attention_heads", 2), ("ffn_dim", 48))
            }
            model: Any = MarianMTModel(
                MarianConfig(
                    **sides,
                    **tokens,
                    d_model=32,
                    dropout=dropout,
                    decoder_vocab_size=len(tokenizer),
                    max_position_embeddings=MAX_LENGTH,
                    bos_token_id=None,
                    forced_eos_token_id=None,
                    init_std=0.2,
                )
            )
        else:
            model = T5ForConditionalGeneration(
                T5Config(
                    **tokens, d_model=32, d_kv=16, num_heads=2, d_ff=48, num_layers=2, dropout_rate=dropout
                )
            )
    return Seq2SeqModel(model.eval(), tokenizer, f"tiny {kind}", f"{kind}-{seed}", MAX_LENGTH)


@pytest.fixture
def make_model() -> MakeModel:
    """Makes a randomly started encoder-decoder of two layers a side, hidden size 32."""
    return _make
