"""What a causal LM is below its head: the module, its cache, its positions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Any, Literal

import torch
from torch import nn

from everlearn.errors import ModelError

__all__ = [
    "USE_NONE",
    "CacheKind",
    "cache_kind",
    "causal_lm_of",
    "decoder_of",
    "evaluating",
    "is_mixed",
    "position_limit",
    "rotates_by_length",
    "takes",
]

CacheKind = Literal["attention", "recurrent", "rnn", "unknown"]

USE_NONE = "set carry to 'none' (--carry none), which gives every chunk to the model without context"
"""What every error about a model's cache advises."""


def causal_lm_of(model: nn.Module) -> Any:
    """The causal LM itself; ``model`` may be wrapped by peft."""
    unwrap = getattr(model, "get_base_model", None)
    return model if unwrap is None else unwrap()


def decoder_of(model: nn.Module) -> Any:
    """The causal LM without its head, adapters included.

    Raises:
        ModelError: The model does not say which part that is.
    """
    causal_lm = causal_lm_of(model)
    find = getattr(causal_lm, "get_decoder", None)
    decoder = causal_lm if find is None else find()
    if find is not None and (decoder is None or decoder is causal_lm):
        # Some models do not say it, or by a name that they do not have.
        decoder = next((child for child in causal_lm.children() if takes(child, "input_ids")), causal_lm)
    if decoder is causal_lm:
        raise ModelError(f"{type(causal_lm).__name__} has no decoder below a language-model head")
    return decoder


def takes(decoder: nn.Module, argument: str) -> bool:
    """Whether the module's forward has an argument of that name."""
    return argument in signature(decoder.forward).parameters


def is_mixed(module: nn.Module) -> bool:
    """Whether trained float32 weights lie beside rounded ones, so that products have to be in one format.

    Adapters see to it themselves.
    """
    formats = {parameter.dtype for name, parameter in module.named_parameters() if "lora_" not in name}
    return {torch.float32, torch.bfloat16} <= formats


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """The module without dropout and gradients, for a look at what it does."""
    modes = {part: part.training for part in module.modules()}
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    module.eval()
    try:
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=is_mixed(module)):
            yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def cache_kind(model: nn.Module) -> CacheKind:
    """What the model's cache holds, found by running it on two tokens.

    Returns:
        "attention" if every layer caches keys and values, "recurrent" if every layer has a state of fixed
        size, "rnn" for ``RnnLanguageModel``; "unknown" for mixtures and for models without a cache.
    """
    if getattr(causal_lm_of(model), "is_rnn_language_model", False):
        return "rnn"
    decoder = decoder_of(model)
    if not takes(decoder, "use_cache"):
        return "unknown"
    ids = torch.zeros(1, 2, dtype=torch.long, device=next(decoder.parameters()).device)
    try:
        with evaluating(decoder):
            output = decoder(input_ids=ids, use_cache=True)
    except (RuntimeError, ValueError, TypeError, IndexError):
        return "unknown"  # a cache that its own model cannot fill is none
    if isinstance(getattr(output, "state", None), list):
        return "recurrent"
    cache = getattr(output, "past_key_values", None)
    layers = getattr(cache if cache is not None else getattr(output, "cache_params", None), "layers", None)
    kinds = {_layer_kind(layer) for layer in layers or ()}
    return kinds.pop() if len(kinds) == 1 else "unknown"


def _layer_kind(layer: Any) -> CacheKind:
    has_keys = isinstance(getattr(layer, "keys", None), torch.Tensor)
    has_state = any(
        isinstance(tensor, torch.Tensor)
        for name in ("conv_states", "recurrent_states")
        for tensor in _values(getattr(layer, name, None))
    )
    return "unknown" if has_keys == has_state else "attention" if has_keys else "recurrent"


def _values(states: Any) -> list[Any]:
    """The tensors of a layer's states, which come as one, a list or a dict by number."""
    if isinstance(states, dict):
        return list(states.values())
    return list(states) if isinstance(states, list | tuple) else [states]


def position_limit(model: nn.Module) -> int | None:
    """Positions that the model was trained with; None where its configuration does not say."""
    config = causal_lm_of(model).config
    rope = getattr(config, "rope_parameters", None) or {}
    # Beyond its original length such a model rotates by other frequencies, which old keys would not fit.
    original = rope.get("original_max_position_embeddings")
    if original and rotates_by_length(model):
        return int(original)
    limit = getattr(config, "max_position_embeddings", None)
    return int(limit) if limit else None


def rotates_by_length(model: nn.Module) -> bool:
    """Whether the model's rotary embeddings are others in longer texts."""
    rope = getattr(causal_lm_of(model).config, "rope_parameters", None) or {}
    return rope.get("rope_type") in ("longrope", "dynamic")
