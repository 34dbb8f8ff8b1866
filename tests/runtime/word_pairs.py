"""A task that no frozen encoder and no count of words solves: do two words that stand apart agree?"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import torch

__all__ = ["write_encoder", "write_texts"]

_FILLERS = [f"w{number}" for number in range(60)]
_MARKS = ["left0", "left1", "right0", "right1"]


def write_encoder(path: Path) -> Path:
    """A small random encoder that knows the words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *_FILLERS, *_MARKS]
    tokenizer = Tokenizer(models.WordLevel({word: k for k, word in enumerate(words)}, unk_token="[UNK]"))
    pieces: Any = pre_tokenizers
    tokenizer.pre_tokenizer = pieces.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast: Any = PreTrainedTokenizerFast
    fast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    ).save_pretrained(path)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=40,
    )
    BertModel(config).save_pretrained(path)
    return path


def write_texts(path: Path, count: int, *, start: int = 0) -> Path:
    """Texts of eight words, with ids from ``message-{start}`` on; the same for the same arguments."""
    generator = random.Random(start)
    lines = []
    for number in range(start, start + count):
        left, right = generator.randint(0, 1), generator.randint(0, 1)
        fillers = generator.choices(_FILLERS, k=6)
        words = [*fillers[:2], f"left{left}", *fillers[2:4], f"right{right}", *fillers[4:]]
        record = {
            "id": f"message-{number}",
            "text": " ".join(words),
            "label": "same" if left == right else "different",
        }
        lines.append(json.dumps(record) + "\n")
    path.write_text("".join(lines))
    return path
