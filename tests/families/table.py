"""Families of causal language models, tiny and random, and what is promised of each.

They stand for kinds: ways of knowing positions, of attending, of routing, of going from hidden states to
logits. docs/models.md has ``as_markdown`` of this table.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

__all__ = ["FAMILIES", "VOCABULARY", "Family", "as_markdown", "build"]

VOCABULARY = 400
_ENDS: dict[str, Any] = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 1}
_PLAIN: dict[str, Any] = {
    **_ENDS,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 256,
    "pad_token_id": None,
}
_GROUPED = {**_PLAIN, "num_key_value_heads": 2}
_HEADS = {**_GROUPED, "head_dim": 16}
_GPT = {**_ENDS, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
_EXPERTS: dict[str, Any] = {"num_experts_per_tok": 2, "moe_intermediate_size": 24}
_LATENT: dict[str, Any] = {
    **_PLAIN,
    "num_key_value_heads": 4,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
}
_SCALES = {"embedding_multiplier": 12.0, "residual_multiplier": 0.22, "attention_multiplier": 0.0625}
_PER_LAYER = {"vocab_size_per_layer_input": VOCABULARY, "hidden_size_per_layer_input": 8}
_RECURRENT = {**_ENDS, "hidden_size": 32, "num_hidden_layers": 2}
_STATES = {"mamba_n_heads": 4, "mamba_d_state": 8, "mamba_n_groups": 1}


def _rope(kind: str, **values: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 1e4, **values}}


@dataclass(frozen=True, slots=True)
class Family:
    """A family and its row of the table.

    Attributes:
        model_type: As transformers calls it.
        settings: Of its configuration.
        stands_for: The kind.
        refusal: What is said at loading where context is to be carried and cannot; None: it is.
    """

    model_type: str
    settings: dict[str, Any]
    stands_for: str
    refusal: str | None = None


_NO_POSITIONS = "takes no positions, so its cache cannot be carried"
_NO_ONE_CACHE = "has no cache of one known kind"
_NOT_CARRIED = "has a cache that cannot be carried from chunk to chunk"

FAMILIES: dict[str, Family] = {
    "llama": Family("llama", _GROUPED, "rotary embeddings, grouped queries"),
    "llama tied, biases": Family(
        "llama",
        {**_GROUPED, "tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True},
        "head tied to the embedding, biases",
    ),
    "llama 3": Family(
        "llama",
        {
            **_GROUPED,
            **_rope(
                "llama3",
                factor=8.0,
                low_freq_factor=1.0,
                high_freq_factor=4.0,
                original_max_position_embeddings=64,
            ),
        },
        "rotary embeddings, scaled by frequency",
    ),
    "llama, YaRN": Family(
        "llama",
        {**_GROUPED, **_rope("yarn", factor=4.0, original_max_position_embeddings=64)},
        "rotary embeddings, YaRN",
    ),
    "llama, linear": Family(
        "llama", {**_GROUPED, **_rope("linear", factor=4.0)}, "rotary embeddings, slowed down"
    ),
    "llama, dynamic": Family(
        "llama", {**_GROUPED, **_rope("dynamic", factor=4.0)}, "rotary embeddings, by the length of the text"
    ),
    "phi3, LongRoPE": Family(
        "phi3",
        {
            **_GROUPED,
            "max_position_embeddings": 1024,
            "original_max_position_embeddings": 256,
            **_rope("longrope", short_factor=[1.0] * 4, long_factor=[2.0] * 4),
        },
        "rotary embeddings, two sets; fused projections",
    ),
    "mistral": Family("mistral", {**_GROUPED, "sliding_window": 24}, "sliding window in all layers"),
    "qwen2": Family(
        "qwen2",
        {**_GROUPED, "use_sliding_window": True, "sliding_window": 24, "max_window_layers": 1},
        "sliding window in some layers, biases of queries and keys",
    ),
    "qwen3": Family("qwen3", _HEADS, "norms of queries and keys"),
    "olmo2": Family("olmo2", _GROUPED, "norms behind the blocks"),
    "smollm3": Family("smollm3", {**_GROUPED, "no_rope_layer_interval": 2}, "layers without positions"),
    "gemma2": Family(
        "gemma2",
        {
            **_HEADS,
            "sliding_window": 24,
            "final_logit_softcapping": 3.0,
            "attn_logit_softcapping": 5.0,
            "query_pre_attn_scalar": 16,
        },
        "capped logits, capped attention",
    ),
    "gemma3": Family("gemma3_text", {**_HEADS, "sliding_window": 24}, "two rotations, by kind of layer"),
    "gemma3n": Family(
        "gemma3n_text",
        {
            **_HEADS,
            **_PER_LAYER,
            "sliding_window": 24,
            "num_hidden_layers": 4,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
            "num_kv_shared_layers": 2,
            "activation_sparsity_pattern": [0.5, 0.0, 0.0, 0.0],
            "laurel_rank": 8,
        },
        "several streams of states, keys shared by layers",
        _NO_ONE_CACHE,
    ),
    "gemma4": Family(
        "gemma4_text", {**_HEADS, **_PER_LAYER, "sliding_window": 24}, "embeddings of each layer"
    ),
    "nanochat": Family(
        "nanochat", {**_GROUPED, "final_logit_softcapping": 3.0}, "capped logits, no weights in norms"
    ),
    "cohere": Family(
        "cohere", {**_GROUPED, "logit_scale": 0.0625}, "scaled logits, attention beside the MLP"
    ),
    "cohere2": Family(
        "cohere2", {**_GROUPED, "logit_scale": 0.25, "sliding_window": 24}, "scaled logits, sliding window"
    ),
    "granite": Family(
        "granite", {**_GROUPED, **_SCALES, "logits_scaling": 8.0}, "divided logits, scales within"
    ),
    "hyperclovax": Family("hyperclovax", {**_GROUPED, "logits_scaling": 0.125}, "scaled logits"),
    "minicpm3": Family(
        "minicpm3",
        {**_LATENT, "q_lora_rank": 16, "dim_model_base": 8},
        "scaled hidden states, latent attention",
    ),
    "phi": Family(
        "phi", {**_PLAIN, "partial_rotary_factor": 0.5}, "part of a head rotates, bias of the head"
    ),
    "glm4": Family("glm4", _HEADS, "neighbouring dimensions rotate"),
    "stablelm": Family("stablelm", _GROUPED, "layer norms with biases"),
    "gpt_neox": Family("gpt_neox", _PLAIN, "queries, keys and values in one matrix"),
    "gptj": Family("gptj", {**_GPT, "rotary_dim": 4}, "rotation without a table of frequencies"),
    "gpt2": Family("gpt2", _GPT, "learned positions, weights as (in, out)"),
    "gpt_bigcode": Family(
        "gpt_bigcode", {**_GPT, "multi_query": True}, "learned positions, one head of keys"
    ),
    "gpt_neo": Family(
        "gpt_neo",
        {
            **_ENDS,
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 24,
            "max_position_embeddings": 256,
        },
        "learned positions, local attention",
    ),
    "opt": Family(
        "opt",
        {
            **_ENDS,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "ffn_dim": 48,
            "max_position_embeddings": 256,
            "word_embed_proj_dim": 16,
            "pad_token_id": 2,
        },
        "smaller embeddings, projected",
    ),
    "bloom": Family("bloom", {**_ENDS, "hidden_size": 32, "n_layer": 2, "n_head": 4}, "ALiBi", _NO_POSITIONS),
    "mpt": Family("mpt", {**_ENDS, "d_model": 32, "n_layers": 2, "n_heads": 4}, "ALiBi", _NO_POSITIONS),
    "falcon, ALiBi": Family(
        "falcon",
        {
            **_ENDS,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "alibi": True,
            "multi_query": False,
            "parallel_attn": False,
            "bias": True,
        },
        "ALiBi, from a mask of two dimensions",
        _NOT_CARRIED,
    ),
    "mixtral": Family("mixtral", {**_GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2}, "experts"),
    "qwen3_moe": Family("qwen3_moe", {**_HEADS, **_EXPERTS, "num_experts": 4}, "experts, fused"),
    "gpt_oss": Family(
        "gpt_oss",
        {**_HEADS, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 24},
        "experts with biases, sinks in the attention",
    ),
    "granitemoe": Family(
        "granitemoe",
        {**_GROUPED, **_SCALES, "logits_scaling": 8.0, "num_local_experts": 4, "num_experts_per_tok": 2},
        "experts, divided logits",
    ),
    "olmoe": Family(
        "olmoe", {**_GROUPED, "num_experts": 4, "num_experts_per_tok": 2}, "experts, norms of keys"
    ),
    "phimoe": Family(
        "phimoe",
        {**_GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2},
        "a router that gives a tuple",
    ),
    "llama4": Family(
        "llama4_text",
        {
            **_HEADS,
            "num_local_experts": 2,
            "num_experts_per_tok": 1,
            "intermediate_size_mlp": 48,
            "attention_chunk_size": 64,
        },
        "attention in blocks of the text, a router that gives a tuple",
        _NOT_CARRIED,
    ),
    "deepseek_v2": Family(
        "deepseek_v2",
        {**_LATENT, **_EXPERTS, "q_lora_rank": None, "n_routed_experts": 4, "first_k_dense_replace": 1},
        "latent attention: values of another size than keys",
    ),
    "deepseek_v3": Family(
        "deepseek_v3",
        {
            **_LATENT,
            **_EXPERTS,
            "q_lora_rank": 16,
            "n_routed_experts": 4,
            "first_k_dense_replace": 1,
            "n_group": 1,
            "topk_group": 1,
        },
        "latent attention, shared experts",
    ),
    "mamba": Family("mamba", {**_RECURRENT, "state_size": 8}, "states"),
    "mamba2": Family(
        "mamba2",
        {**_RECURRENT, "state_size": 8, "num_heads": 8, "head_dim": 8, "n_groups": 2, "chunk_size": 16},
        "states, in blocks",
    ),
    "falcon_mamba": Family("falcon_mamba", {**_RECURRENT, "state_size": 8}, "states, norms within"),
    "rwkv": Family(
        "rwkv", {**_RECURRENT, "attention_hidden_size": 32, "context_length": 256}, "states, time mixing"
    ),
    "bamba": Family(
        "bamba",
        {**_GROUPED, **_STATES, "mamba_d_head": 16, "attn_layer_indices": [1]},
        "states in some layers, attention in others",
        _NO_ONE_CACHE,
    ),
    "falcon_h1": Family(
        "falcon_h1",
        {**_GROUPED, **_STATES, "mamba_d_ssm": 32, "mamba_d_head": 8, "lm_head_multiplier": 0.1},
        "states beside attention, multiplied logits",
        _NO_ONE_CACHE,
    ),
    "lfm2": Family("lfm2", {**_GROUPED, "full_attn_idxs": [1]}, "convolutions and attention", _NO_ONE_CACHE),
    "qwen3_next": Family(
        "qwen3_next",
        {
            **_HEADS,
            **_EXPERTS,
            "layer_types": ["linear_attention", "full_attention"],
            "num_experts": 4,
            "shared_expert_intermediate_size": 24,
            "linear_num_value_heads": 4,
            "linear_num_key_heads": 2,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
        },
        "gated delta nets and attention",
        _NO_ONE_CACHE,
    ),
    "recurrent_gemma": Family(
        "recurrent_gemma",
        {
            **_PLAIN,
            "num_key_value_heads": 1,
            "lru_width": 32,
            "attention_window_size": 24,
            "num_hidden_layers": 3,
        },
        "gated linear recurrences and local attention, capped logits",
        _NO_ONE_CACHE,
    ),
    "xlstm": Family(
        "xlstm",
        {**_RECURRENT, "num_heads": 4, "pad_token_id": 0},
        "matrix memories, capped logits",
        _NO_ONE_CACHE,
    ),
}


def build(family: Family, folder: Path, tokenizer: Any) -> None:
    """Save a model of the family, weights wide enough that attention is far from uniform."""
    config = AutoConfig.for_model(family.model_type, **family.settings)
    make: Any = AutoModelForCausalLM.from_config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any = make(config, dtype=torch.float32)
        for name, parameter in model.named_parameters():
            if parameter.dim() >= 2 and "conv" not in name:
                torch.nn.init.normal_(parameter, std=0.15)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def as_markdown() -> str:
    """The table of docs/models.md."""
    lines = [
        "| family | stands for | score | learn: LoRA, all | carry | export: full, adapter | resume |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, family in FAMILIES.items():
        carried = "yes" if family.refusal is None else f"refused: {family.refusal}; `--carry none`"
        lines.append(f"| {name} | {family.stands_for} | yes | yes, yes | {carried} | yes, yes | yes |")
    return "\n".join(lines)
