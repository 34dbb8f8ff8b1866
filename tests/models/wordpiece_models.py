"""A small random encoder with a small WordPiece tokenizer."""

from __future__ import annotations

from typing import Any

import torch
import transformers


def wordpiece_tokenizer() -> Any:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "ze", "##bra", "##fish", "saw", *"abcz;?"]
    vocabulary = {piece: id_ for id_, piece in enumerate([*pieces, "##a", "##b", "##c"])}
    kind: Any = transformers.BertTokenizer
    return kind(vocab=vocabulary)


def tiny_bert(vocab_size: int, num_layers: int = 1, **settings: Any) -> Any:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 16}
    config: Any = transformers.BertConfig(
        vocab_size=vocab_size, num_hidden_layers=num_layers, **sizes, **settings
    )
    model: Any = transformers.BertModel(config)
    return model.eval()
