"""A small encoder-decoder with random weights and a tokenizer of its own, to be trained from scratch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import torch

from everlearn.errors import ConfigError, InputError
from everlearn.models.language.seq2seq import Seq2SeqModel

__all__ = ["small_seq2seq"]

_SPECIAL = ("<pad>", "</s>")
_NUM_BYTES = 256


def small_seq2seq(
    texts: Iterable[str],
    *,
    vocab_size: int = 4_000,
    hidden_size: int = 256,
    layers: int = 3,
    heads: int = 4,
    dropout: float = 0.1,
    max_length: int = 128,
    seed: int = 0,
) -> Seq2SeqModel:
    """Make a small encoder-decoder for lack of a pretrained one.

    The tokenizer is a byte-level BPE trained on the texts, so it reads any text of any language. The model is
    of transformers' Pegasus class: each layer normalises what it reads and not what it gives (pre-norm: Xiong
    et al. 2020, https://arxiv.org/abs/2002.04745), so that it learns from the first step at high rates;
    positions are sinusoids; one matrix embeds both sides and is the head. It can be saved and loaded by
    ``from_pretrained`` like any other. torch's global generator is left as it was.

    Args:
        texts: Sources and targets alike, to train the tokenizer on.
        vocab_size: Tokens at most: 2 special ones, 256 bytes and what is frequent.
        hidden_size: Of the states; the feed-forward layers have four times as many.
        layers: Of encoder and decoder each.
        heads: Of attention; they divide ``hidden_size``.
        dropout: In training mode.
        max_length: Tokens of a source or a target.
        seed: Of the weights.

    Raises:
        ConfigError: A size is too small, or the heads do not divide the hidden size.
        InputError: There are no texts.
    """
    for name, value, least in (
        ("vocab_size", vocab_size, len(_SPECIAL) + _NUM_BYTES),
        ("hidden_size", hidden_size, 1),
        ("layers", layers, 1),
        ("heads", heads, 1),
        ("max_length", max_length, 2),
    ):
        if value < least:
            raise ConfigError(f"{name} must be at least {least}, not {value!r}")
    if hidden_size % heads or hidden_size % 2:
        raise ConfigError(f"hidden_size must be even and a multiple of heads ({heads}), not {hidden_size!r}")
    if not 0 <= dropout < 1:
        raise ConfigError(f"dropout must be in [0, 1), not {dropout!r}")
    tokenizer = _tokenizer(texts, vocab_size, max_length)
    model = _model(len(tokenizer), hidden_size, layers, heads, dropout, max_length, seed)
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return Seq2SeqModel(model, tokenizer, "small encoder-decoder", digest.hexdigest(), max_length)


def _tokenizer(texts: Iterable[str], vocab_size: int, max_length: int) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    num_texts = 0

    def counted() -> Iterable[str]:
        nonlocal num_texts
        for text in texts:
            num_texts += 1
            yield text

    backend = Tokenizer(models.BPE())
    # A space is part of the word behind it, so the first word has one too.
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    backend.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(content=" ", left=1)])
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(_SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(counted(), trainer)
    if not num_texts:
        raise InputError("a tokenizer needs texts to be trained on; there are none")
    backend.post_processor = processors.TemplateProcessing(
        single=f"$A {_SPECIAL[1]}", special_tokens=[(_SPECIAL[1], 1)]
    )
    fast: Any = PreTrainedTokenizerFast  # it has no annotations
    return fast(
        tokenizer_object=backend, pad_token=_SPECIAL[0], eos_token=_SPECIAL[1], model_max_length=max_length
    )


def _model(
    vocab_size: int, hidden_size: int, layers: int, heads: int, dropout: float, max_length: int, seed: int
) -> Any:
    from transformers import PegasusConfig, PegasusForConditionalGeneration

    sides: dict[str, Any] = {
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in (("layers", layers), ("attention_heads", heads), ("ffn_dim", 4 * hidden_size))
    }
    tokens: dict[str, Any] = {
        "pad_token_id": 0,
        "bos_token_id": None,
        "eos_token_id": 1,
        "forced_eos_token_id": None,
        "decoder_start_token_id": 0,
    }
    config = PegasusConfig(
        vocab_size=vocab_size,
        d_model=hidden_size,
        max_position_embeddings=max_length,
        activation_function="gelu",
        dropout=dropout,
        attention_dropout=0.0,
        activation_dropout=0.0,
        scale_embedding=True,
        # Products of unit-size states keep their size, and so do the logits of the shared embedding.
        init_std=hidden_size**-0.5,
        **sides,
        **tokens,
    )
    model: Any
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = PegasusForConditionalGeneration(config)
    return model.eval()
