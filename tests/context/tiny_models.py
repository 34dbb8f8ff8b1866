"""Tiny random causal LMs of several families, and a driver that reads documents through lanes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    FalconMambaConfig,
    Gemma3TextConfig,
    GPT2Config,
    GPTJConfig,
    GPTNeoXConfig,
    LlamaConfig,
    Mamba2Config,
    MambaConfig,
    MistralConfig,
    RwkvConfig,
)

from everlearn.context import Carry, CarryConfig, Lanes, Rows, TokenRun, make_carry
from everlearn.context.decoder import decoder_of

VOCABULARY = 97
_SIZES = {"vocab_size": VOCABULARY, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
_SPECIAL = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}


def llama(**settings: Any) -> nn.Module:
    wanted = {**_SIZES, **_SPECIAL, "intermediate_size": 96, "num_key_value_heads": 2, **settings}
    return built(LlamaConfig(**{"max_position_embeddings": 256, **wanted}))


def gpt_neox(**settings: Any) -> nn.Module:
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 0.5}
    wanted = {**_SIZES, **_SPECIAL, "intermediate_size": 96, "rope_parameters": rope, **settings}
    return built(GPTNeoXConfig(**{"max_position_embeddings": 256, **wanted}))


def gptj(**settings: Any) -> nn.Module:
    wanted = {"vocab_size": VOCABULARY, "n_embd": 64, "n_layer": 2, "n_head": 4, "rotary_dim": 8, **_SPECIAL}
    return built(GPTJConfig(**{"n_positions": 256, **wanted, **settings}))


def gpt2(**settings: Any) -> nn.Module:
    wanted = {"vocab_size": VOCABULARY, "n_embd": 64, "n_layer": 2, "n_head": 4, **_SPECIAL}
    return built(GPT2Config(**{"n_positions": 256, **wanted, **settings}))


def mistral(**settings: Any) -> nn.Module:
    wanted = {**_SIZES, **_SPECIAL, "intermediate_size": 96, "num_key_value_heads": 2, "sliding_window": 12}
    return built(MistralConfig(**{"max_position_embeddings": 256, **wanted, **settings}))


def gemma3(**settings: Any) -> nn.Module:
    wanted = {**_SIZES, **_SPECIAL, "intermediate_size": 96, "num_key_value_heads": 2, "head_dim": 16}
    kinds = {"sliding_window": 12, "layer_types": ["sliding_attention", "full_attention"]}
    return built(Gemma3TextConfig(**{"max_position_embeddings": 256, **wanted, **kinds, **settings}))


def mamba(**settings: Any) -> nn.Module:
    wanted = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8}
    return built(MambaConfig(**{**wanted, **_SPECIAL, **settings}))


def mamba2(**settings: Any) -> nn.Module:
    wanted = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8}
    heads = {"num_heads": 8, "head_dim": 8, "n_groups": 2, "chunk_size": 16}
    return built(Mamba2Config(**{**wanted, **heads, **_SPECIAL, **settings}))


def rwkv(**settings: Any) -> nn.Module:
    wanted = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "context_length": 256}
    return built(RwkvConfig(**{**wanted, "attention_hidden_size": 32, **_SPECIAL, **settings}))


def falcon_mamba(**settings: Any) -> nn.Module:
    wanted = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8}
    return built(FalconMambaConfig(**{**wanted, **_SPECIAL, **settings}))


ROTARY: dict[str, Callable[..., nn.Module]] = {
    "llama": llama,
    "gpt_neox": gpt_neox,
    "gptj": gptj,
    "gemma3": gemma3,
}
ATTENTION = {**ROTARY, "gpt2": gpt2, "mistral": mistral}
RECURRENT: dict[str, Callable[..., nn.Module]] = {
    "mamba": mamba,
    "mamba2": mamba2,
    "rwkv": rwkv,
    "falcon_mamba": falcon_mamba,
}


def built(config: Any, dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(0)
    make: Any = AutoModelForCausalLM.from_config
    model: nn.Module = make(config, dtype=dtype)
    for parameter in model.parameters():
        # Wider than the usual start, so that attention is far from uniform.
        if parameter.dim() == 2:
            torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


def tokens(length: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.int32]]:
    return np.random.default_rng(seed).integers(1, VOCABULARY, length).astype(np.int32)


def run_of(name: str, ids: np.ndarray[Any, np.dtype[np.int32]], **settings: Any) -> TokenRun:
    wanted = {"example_id": name, "document": name, **settings}
    return TokenRun(
        ids=ids, is_target=np.ones(len(ids), bool), num_bytes=np.ones(len(ids), np.int32), **wanted
    )


def whole_states(model: nn.Module, ids: np.ndarray[Any, np.dtype[np.int32]]) -> Tensor:
    """Last hidden states (T - 1, H) of a document in one pass; its last token predicts nothing."""
    with torch.no_grad():
        if hasattr(model, "is_rnn_language_model"):
            read: Any = model
            states: Tensor = read.states(torch.from_numpy(ids[None, :-1]).long(), None)[0]
        else:
            output = decoder_of(model)(input_ids=torch.from_numpy(ids[None, :-1]).long(), use_cache=False)
            states = output.last_hidden_state
    return states[0]


def streamed_states(
    model: nn.Module,
    documents: Mapping[str, np.ndarray[Any, np.dtype[np.int32]]],
    config: CarryConfig,
    *,
    num_lanes: int = 1,
    chunk_length: int = 16,
    carry: Carry | None = None,
) -> dict[str, Tensor]:
    """The same, read in chunks: all documents are queued at once, in the mapping's order."""
    carry = make_carry(model, config, num_lanes) if carry is None else carry
    lanes = Lanes(num_lanes, chunk_length, carry.one_document_per_row)
    for name, ids in documents.items():
        lanes.add(run_of(name, ids))
    states: dict[str, list[Tensor]] = {name: [] for name in documents}
    with torch.no_grad():
        while (chunk := lanes.take(10_000, flush=True)) is not None:
            rows = Rows.from_chunk(chunk)
            result = carry.forward(model, rows)
            carry.advance(rows, result)
            for span in chunk.spans:
                states[span.example_id].append(result.states_RLH[span.row, span.start : span.stop])
    return {name: torch.cat(parts) for name, parts in states.items()}
