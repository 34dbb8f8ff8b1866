"""Small random models and tokenizers of several kinds, made in a fraction of a second."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

fast_tokenizer: Any = PreTrainedTokenizerFast  # it has no annotations
TEXTS = [
    "the quick brown fox jumps over the lazy dog, and the dog sleeps on",
    "Grüße aus Köln: schöne Straßen, süße Äpfel – 42 Stück für 3 €",
    "日本語の文章と中文的句子。 русский текст, ελληνικά",
    "def f(x):\n    return x + 1  # 🤗 🎉\n",
] * 3
CHAT_TEMPLATE = (
    "{% for m in messages %}{{ '<|start|>' + m['role'] + '\\n' + m['content'] + '<|end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant\\n' }}{% endif %}"
)


def byte_level_tokenizer(
    *, prefix_space: bool = False, trim: bool = False, normalizer: Any = None, chat: bool = True
) -> Any:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    backend.decoder = decoders.ByteLevel()
    if trim:
        backend.post_processor = processors.ByteLevel(trim_offsets=True)
    if normalizer is not None:
        backend.normalizer = normalizer
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|start|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(TEXTS, trainer)
    settings = {"chat_template": CHAT_TEMPLATE} if chat else {}
    return fast_tokenizer(tokenizer_object=backend, bos_token="<|start|>", eos_token="<|end|>", **settings)


def byte_fallback_tokenizer() -> Any:
    """As Llama 2's: spaces are a character of their own, unknown characters fall apart into bytes."""
    letters = "▁abcdefghijklmnopqrstuvwxyzü"
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters, "th", "▁th"]
    merges = [("t", "h"), ("▁", "th")]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    backend = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(content=" ", left=1),
        ]
    )
    return fast_tokenizer(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def unigram_tokenizer() -> Any:
    """As T5's: characters are normalised first, so bytes change."""
    backend = Tokenizer(models.Unigram())
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=150, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False
    )
    backend.train_from_iterator(TEXTS, trainer)
    return fast_tokenizer(tokenizer_object=backend, eos_token="</s>", unk_token="<unk>")


def adapt(model: Any, config: Any, name: str = "default") -> Any:
    """An adapted model, as peft makes it."""
    from peft import get_peft_model

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft reads what transformers has renamed
        return get_peft_model(model, config, adapter_name=name)


def tiny_llama(vocab_size: int = 400, **settings: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 48}
    sizes |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128}
    model: Any = LlamaForCausalLM(
        LlamaConfig(vocab_size=vocab_size, bos_token_id=0, eos_token_id=1, **sizes, **settings)
    )
    return model.eval()


def tiny_seq2seq(kind: str) -> Any:
    from transformers import MarianConfig, MarianMTModel, T5Config, T5ForConditionalGeneration

    torch.manual_seed(1)
    tokens: dict[str, Any] = {"vocab_size": 400, "pad_token_id": 0, "eos_token_id": 1}
    tokens["decoder_start_token_id"] = 0
    if kind == "t5":
        t5_config = T5Config(**tokens, d_model=32, d_kv=8, d_ff=32, num_layers=2, num_heads=4)
        t5: Any = T5ForConditionalGeneration(t5_config)
        return t5.eval()
    sizes: dict[str, Any] = {
        f"{side}_{name}": size
        for side in ("encoder", "decoder")
        for name, size in (("layers", 2), ("attention_heads", 2), ("ffn_dim", 32))
    }
    others: dict[str, Any] = {"d_model": 32, "init_std": 0.5, "max_position_embeddings": 64}
    model: Any = MarianMTModel(MarianConfig(**tokens, **sizes, **others, forced_eos_token_id=None))
    model.generation_config.max_length = 512  # as published ones say
    model.generation_config.num_beams = 6
    return model.eval()
