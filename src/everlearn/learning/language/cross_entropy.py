"""Cross-entropy of a language model's head without the logits of all tokens in memory.

T: tokens, D: hidden size, V: vocabulary, N: new tokens in a matrix of their own.

The head's logits are the largest tensor of a training step: T x V, a hundred times the hidden states. Here a
few rows of them exist at a time; loss and gradient of a row are computed while they do, so the backward pass
needs none of them (as in Wijmans et al., "Cut your losses in large-vocabulary language models", ICLR 2025).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["linear_cross_entropy"]

# 128 rows of 50,000 float32 logits are 25 MB: a few stay in the processor's cache.
_ROWS_AT_ONCE = 128


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states_TD: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        labels_T: Tensor,
        shares_T: Tensor,
        softcap: float | None,
        new_weight_ND: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        needs_states, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        needs_new = ctx.needs_input_grad[6]
        weight, num_old = weight_VD.to(states_TD.dtype), len(weight_VD)
        if new_weight_ND is not None:
            weight = torch.cat([weight, new_weight_ND.to(weight.dtype)])
        nats_T = torch.empty(len(labels_T), dtype=torch.float32, device=states_TD.device)
        if states_TD.dtype == torch.float64:
            nats_T = nats_T.double()
        states_grad = torch.empty_like(states_TD) if needs_states else None
        weight_grad = torch.zeros_like(weight_VD) if needs_weight else None
        new_grad = torch.zeros_like(new_weight_ND) if needs_new and new_weight_ND is not None else None
        bias_grad = torch.zeros_like(bias_V) if needs_bias and bias_V is not None else None
        for start in range(0, len(labels_T), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            states, labels = states_TD[rows], labels_T[rows].unsqueeze(1)
            logits = (states @ weight.T).to(nats_T.dtype)
            if bias_V is not None:
                logits += bias_V
            if softcap is not None:
                logits = softcap * torch.tanh(logits / softcap)
            log_sums = torch.logsumexp(logits, dim=1, keepdim=True)
            nats_T[rows] = (log_sums - logits.gather(1, labels)).squeeze(1)
            if states_grad is None and weight_grad is None and new_grad is None:
                continue
            shares = shares_T[rows].unsqueeze(1)
            slope = 1.0 - (logits / softcap).square() if softcap is not None else None
            # d loss / d logits = share * (softmax - one-hot), in place of the logits.
            gradient = logits.sub_(log_sums).exp_().mul_(shares)
            gradient.scatter_add_(1, labels, -shares)
            if slope is not None:
                gradient *= slope
            if bias_grad is not None:
                bias_grad += gradient.sum(0)
            gradient = gradient.to(states.dtype)
            if states_grad is not None:
                states_grad[rows] = gradient @ weight
            if weight_grad is not None:
                weight_grad += gradient[:, :num_old].T @ states
            if new_grad is not None:
                new_grad += gradient[:, num_old:].T @ states
        ctx.gradients = (states_grad, weight_grad, bias_grad, new_grad)
        ctx.mark_non_differentiable(nats_T)
        return torch.dot(nats_T, shares_T), nats_T

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        scaled = [None if gradient is None else gradient * gradients[0] for gradient in ctx.gradients]
        return (*scaled[:3], None, None, None, scaled[3])


def linear_cross_entropy(
    states_TD: Tensor,
    weight_VD: Tensor,
    labels_T: Tensor,
    shares_T: Tensor,
    *,
    bias_V: Tensor | None = None,
    softcap: float | None = None,
    new_weight_ND: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Σ share · cross-entropy of softmax(states · weightᵀ + bias).

    Args:
        states_TD: Hidden states; logits are computed in their precision and read in float32.
        weight_VD: The head's weight.
        labels_T: int64 token ids in [0, V).
        shares_T: Weight of each token in the loss, float32 (float64 with float64 states).
        bias_V: The head's bias.
        softcap: c, where logits are capped as c · tanh(logits / c); None: they are not.
        new_weight_ND: Rows of new tokens, that come after those of the weight; a gradient is computed only of
            what takes one.

    Returns:
        The loss, a scalar with its graph; and the nats of each token (T,), without.
    """
    apply: Any = _LinearCrossEntropy.apply
    loss, nats_T = apply(states_TD, weight_VD, bias_V, labels_T, shares_T, softcap, new_weight_ND)
    return loss, nats_T
