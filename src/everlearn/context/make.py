"""The carry that fits a model."""

from __future__ import annotations

from torch import nn

from everlearn.context.carry import Carry, CarryConfig
from everlearn.context.decoder import USE_NONE, cache_kind, causal_lm_of
from everlearn.context.rnn import RnnCarry
from everlearn.errors import ModelError

__all__ = ["make_carry"]


def make_carry(model: nn.Module, config: CarryConfig, num_lanes: int) -> Carry:
    """Make the carry that the settings name, or with kind "auto" the one of the model's cache.

    Args:
        model: The causal LM, bare or wrapped by peft. It is run on a few tokens to see what it caches.
        config: The settings.
        num_lanes: B.

    Raises:
        ModelError: The model has no cache of that kind; says what to do.
        ConfigError: The settings do not fit the model.
    """
    # Imported here, as transformers takes a second to load and classifiers do without it.
    from everlearn.context.attention import AttentionCarry
    from everlearn.context.probing import carries_on, parts_documents
    from everlearn.context.recurrent import RecurrentCarry
    from everlearn.context.without import NoCarry

    if config.kind == "none":
        return NoCarry(model, config, num_lanes)
    found = cache_kind(model)
    name = type(causal_lm_of(model)).__name__
    if found == "unknown":
        raise ModelError(f"{name} has no cache of one known kind; {USE_NONE}")
    if config.kind not in ("auto", found):
        raise ModelError(
            f"{name} carries {found!r}, not {config.kind!r}; set carry to {found!r} or 'none' (--carry)"
        )
    if found == "attention":
        carry = AttentionCarry(model, config, num_lanes)
        if not (
            parts_documents(model)
            and carries_on(model, AttentionCarry(model, config.replace(window=None, dtype="model"), 1))
        ):
            raise ModelError(f"{name} has a cache that cannot be carried from chunk to chunk; {USE_NONE}")
        return carry
    if found == "recurrent":
        return RecurrentCarry(model, config, num_lanes)
    return RnnCarry(model, config, num_lanes)
