"""How a model's logits come from the last hidden states of its decoder, found by looking at what it does.

Losses are computed without the logits of all tokens in memory, so a model's own forward pass is not run to
its end, and what it does there has to be done here: many scale hidden states or logits, some cap them, a few
have more between decoder and head than one product.

R: rows, T: tokens, D: hidden size, V: vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from everlearn.context.decoder import causal_lm_of, decoder_of, evaluating, takes
from everlearn.errors import ModelError

__all__ = ["LogitForm", "check_logit_form", "find_logit_form", "output_head"]

_NUM_TOKENS = 16
# Of the largest value; what is rounding in a product of this size, and what is a scale.
_TOLERANCES = {torch.float64: 1e-6, torch.float32: 1e-4}
_LOW_PRECISION_TOLERANCE = 3e-2
_ROWS_AT_ONCE = 128


@dataclass(frozen=True, slots=True)
class LogitForm:
    """What a model does behind its decoder: logits = cap(logits_scale · head(states_scale · states)).

    Attributes:
        states_scale: Factor of the hidden states before the head.
        logits_scale: Factor of what the head gives.
        softcap: c, where logits are then capped as c · tanh(logits / c); None: they are not.
        is_own: The model does something else; its own forward pass is run behind its decoder. Slower.
    """

    states_scale: float = 1.0
    logits_scale: float = 1.0
    softcap: float | None = None
    is_own: bool = False

    def scaled(self, states_TD: Tensor) -> Tensor:
        """Hidden states whose product with the head's weight is in the scale of the logits."""
        factor = self.states_scale * self.logits_scale
        return states_TD if factor == 1.0 else states_TD * factor

    def bias(self, head: Any) -> Tensor | None:
        """The head's bias in the scale of the logits."""
        bias: Tensor | None = getattr(head, "bias", None)
        return bias if bias is None or self.logits_scale == 1.0 else bias * self.logits_scale

    def capped(self, logits_TV: Tensor) -> Tensor:
        """Logits with the cap, if there is one."""
        return logits_TV if self.softcap is None else self.softcap * torch.tanh(logits_TV / self.softcap)

    def of_scaled(self, model: nn.Module, states_TD: Tensor) -> Tensor:
        """Logits (T, V) of hidden states that were ``scaled``."""
        if self.is_own:
            return own_logits(model, states_TD)
        head, bias_V = output_head(model), self.bias(output_head(model))
        bias_V = None if bias_V is None else bias_V.to(states_TD.dtype)
        return self.capped(functional.linear(states_TD, head.weight.to(states_TD.dtype), bias_V))


def output_head(model: nn.Module) -> Any:
    """The module from hidden states to logits, with a ``weight`` (V, D), also through adapters."""
    head = causal_lm_of(model).get_output_embeddings()
    return head.base_layer if hasattr(head, "base_layer") else head


def own_logits(model: nn.Module, states_TD: Tensor) -> Tensor:
    """Logits (T, V) by the model's own forward pass, with these states in place of its decoder's."""
    causal_lm, decoder = causal_lm_of(model), decoder_of(model)
    ids_1T = torch.zeros(1, len(states_TD), dtype=torch.long, device=states_TD.device)
    is_reduced = states_TD.dtype in (torch.bfloat16, torch.float16)
    # Weights in training are float32 whatever the states are.
    autocast = torch.autocast(states_TD.device.type, torch.bfloat16, enabled=is_reduced)
    with autocast, _giving(decoder, states_TD[None]):
        logits_TV: Tensor = causal_lm(input_ids=ids_1T).logits[0]
    return logits_TV


def own_cross_entropy(
    model: nn.Module, states_TD: Tensor, labels_T: Tensor, shares_T: Tensor
) -> tuple[Tensor, Tensor]:
    """As ``linear_cross_entropy``, by the model's own forward pass."""

    def nats(states: Tensor, labels: Tensor) -> Tensor:
        logits = own_logits(model, states).to(shares_T.dtype)
        return functional.cross_entropy(logits, labels, reduction="none")

    parts = []
    for start in range(0, len(labels_T), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        if torch.is_grad_enabled():
            # Logits are computed again in the backward pass, so that those of all tokens never exist at once.
            parts.append(checkpoint(nats, states_TD[rows], labels_T[rows], use_reentrant=False))
        else:
            parts.append(nats(states_TD[rows], labels_T[rows]))
    nats_T = torch.cat(parts) if parts else shares_T
    return torch.dot(nats_T, shares_T), nats_T.detach()


class _DecoderOutput:
    """What a decoder gives, as far as a model reads it behind its decoder: states, and no caches."""

    def __init__(self, states_RTD: Tensor) -> None:
        self.last_hidden_state = states_RTD

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return getattr(self, key)
        return (self.last_hidden_state,)[key]

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


@contextmanager
def _giving(decoder: nn.Module, states_RTD: Tensor) -> Iterator[None]:
    """Within the block the decoder gives these states, whatever it is called with."""
    before = decoder.__dict__.get("forward")
    decoder.__dict__["forward"] = lambda *args, **kwargs: _DecoderOutput(states_RTD)
    try:
        yield
    finally:
        if before is None:
            del decoder.__dict__["forward"]
        else:
            decoder.__dict__["forward"] = before


def find_logit_form(model: nn.Module) -> LogitForm:
    """Find by measuring what a model does behind its decoder.

    Hidden states of two sizes take the place of the decoder's; what goes into the head and what comes out of
    it is compared with the states and with the logits. A number that stands in the model's configuration,
    itself or inverted, is taken from there.

    Args:
        model: The causal LM, before anything of it is rounded.

    Raises:
        ModelError: Its logits do not come from the hidden states of its decoder.
    """
    causal_lm = causal_lm_of(model)
    if getattr(causal_lm, "is_rnn_language_model", False):
        return LogitForm()
    head = output_head(model)
    if not isinstance(getattr(head, "weight", None), Tensor) or head.weight.dim() != 2:
        return LogitForm(is_own=True)
    seen = _observe(causal_lm, head, _read(causal_lm)[0].shape[-1])
    if (
        seen is None
        or seen.into_TD.shape != seen.states_TD.shape
        or seen.out_TV.shape != seen.logits_TV.shape
    ):
        return LogitForm(is_own=True)
    tolerance = _tolerance(head.weight.dtype)
    numbers = _numbers(causal_lm.config)
    states_scale = _exact(_ratio(seen.into_TD, seen.states_TD), numbers, tolerance)
    # A cap does nothing to small logits, and all that is seen of large ones.
    logits_scale = _exact(_ratio(seen.logits_TV[0], seen.out_TV[0]), numbers, tolerance)
    softcap = _exact(float(seen.logits_TV[1].abs().max()), numbers, tolerance)
    weight_VD, bias_V = head.weight.detach().double(), _double(getattr(head, "bias", None))
    linear_TV = functional.linear(seen.states_TD * states_scale, weight_VD, bias_V)
    for form in (LogitForm(states_scale, logits_scale), LogitForm(states_scale, logits_scale, softcap)):
        logits_TV = form.capped(seen.out_TV * logits_scale)
        if _agree(logits_TV, seen.logits_TV, tolerance) and _agree(linear_TV, seen.out_TV, tolerance):
            return form
    return LogitForm(is_own=True)


def check_logit_form(model: nn.Module, form: LogitForm, autocast_dtype: torch.dtype | None) -> LogitForm:
    """Compare what a form gives for a few tokens with the model's own logits, in the precision that is used.

    Returns:
        The form, or the model's own way where it does not give the same.

    Raises:
        ModelError: That does not either.
    """
    causal_lm = causal_lm_of(model)
    if getattr(causal_lm, "is_rnn_language_model", False):
        return form
    dtype = next(causal_lm.parameters()).dtype if autocast_dtype is None else autocast_dtype
    with torch.autocast(
        next(causal_lm.parameters()).device.type,
        autocast_dtype or torch.bfloat16,
        enabled=autocast_dtype is not None,
    ):
        states_TD, logits_TV = _read(causal_lm)
        with evaluating(causal_lm):
            for candidate in (form, LogitForm(is_own=True)):
                found_TV = candidate.of_scaled(model, candidate.scaled(states_TD).to(dtype))
                if _agree(found_TV.double()[None], logits_TV.double()[None], 3 * _tolerance(dtype)):
                    return candidate
    raise ModelError(
        f"the logits of {type(causal_lm).__name__} do not come from the last hidden states of its decoder, "
        "so its losses cannot be computed here; take another model (--model)"
    )


def _tolerance(dtype: torch.dtype) -> float:
    return _TOLERANCES.get(dtype, _LOW_PRECISION_TOLERANCE)


def _double(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach().double()


def _read(causal_lm: Any) -> tuple[Tensor, Tensor]:
    """Last hidden states (T, D) and logits (T, V) of a few tokens."""
    seen: list[Any] = []
    decoder = decoder_of(causal_lm)
    vocabulary = int(causal_lm.config.get_text_config().vocab_size)
    ids_1T = (
        torch.arange(1, _NUM_TOKENS + 1, device=next(causal_lm.parameters()).device)[None] * 7919 % vocabulary
    )
    handle = decoder.register_forward_hook(lambda module, inputs, output: seen.append(output))
    try:
        with evaluating(causal_lm):
            uncached = {"use_cache": False} if takes(causal_lm, "use_cache") else {}
            logits_TV: Tensor = causal_lm(input_ids=ids_1T, **uncached).logits[0]
    finally:
        handle.remove()
    if not seen:
        raise ModelError(f"{type(causal_lm).__name__} does not run its decoder to compute logits")
    return seen[-1][0][0], logits_TV


class _Seen(NamedTuple):
    """Float64; the first axis parts small states from large ones."""

    states_TD: Tensor
    into_TD: Tensor
    out_TV: Tensor
    logits_TV: Tensor


def _observe(causal_lm: Any, head: Any, size: int) -> _Seen | None:
    """What goes through a head on the way from states to logits; None if not everything goes once."""
    seen: list[tuple[Tensor, Tensor]] = []
    weight: Tensor = head.weight.detach()
    noise_TD = torch.randn(_NUM_TOKENS, size, generator=torch.Generator().manual_seed(0))
    deviation = float(weight.float().std()) * math.sqrt(size)
    states_TD = torch.cat([noise_TD * (1e-5 / deviation), noise_TD * (1e7 / deviation)])
    states_TD = states_TD.to(weight.device, weight.dtype)
    handle = head.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], output)))
    try:
        with evaluating(causal_lm):
            logits_TV = own_logits(causal_lm, states_TD)
    finally:
        handle.remove()
    if len(seen) != 1:
        return None
    return _Seen(
        *(tensor.double().reshape(2, _NUM_TOKENS, -1) for tensor in (states_TD, *seen[0], logits_TV))
    )


def _ratio(numerators: Tensor, denominators: Tensor) -> float:
    is_large = denominators.abs() > 0.1 * denominators.abs().max()
    return float((numerators[is_large] / denominators[is_large]).median()) if bool(is_large.any()) else 1.0


def _numbers(config: Any) -> list[float]:
    """1, and what stands in a configuration: a scale may be any of these or its inverse."""
    values = {**config.to_dict(), **config.get_text_config().to_dict()}.values()
    return [1.0, *(float(value) for value in values if isinstance(value, int | float) and value > 0)]


def _exact(measured: float, numbers: Sequence[float], tolerance: float) -> float:
    """The number that was measured, without the error of the measurement where it is known better."""
    candidates = [candidate for number in numbers for candidate in (number, 1.0 / number)]
    nearest = min(candidates, key=lambda candidate: abs(candidate - measured))
    return nearest if abs(nearest - measured) <= tolerance * abs(measured) else measured


def _agree(found: Tensor, wanted: Tensor, tolerance: float) -> bool:
    """Whether values differ by rounding only, for each entry of the first axis."""
    if found.shape != wanted.shape:
        return False
    errors = (found - wanted).flatten(1).abs().amax(1)
    return bool((errors <= tolerance * wanted.flatten(1).abs().amax(1)).all())
