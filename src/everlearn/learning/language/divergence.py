"""How far a language model's predictions are from another's, without the logits of all tokens in memory.

T: tokens, D: hidden size, V: vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["linear_kl_divergence"]

# As in cross_entropy.py, for two sets of logits instead of one.
_ROWS_AT_ONCE = 128


class _LinearDivergence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states_TD: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        teacher_states_TD: Tensor,
        teacher_weight_VD: Tensor,
        teacher_bias_V: Tensor | None,
        shares_T: Tensor,
        softcap: float | None,
        temperature: float,
    ) -> tuple[Tensor, Tensor]:
        needs_states, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        weight = weight_VD.to(states_TD.dtype)
        teacher_weight = teacher_weight_VD.to(teacher_states_TD.dtype)
        nats_T = torch.empty_like(shares_T)
        states_grad = torch.empty_like(states_TD) if needs_states else None
        weight_grad = torch.zeros_like(weight_VD) if needs_weight else None
        bias_grad = torch.zeros_like(bias_V) if needs_bias and bias_V is not None else None
        for start in range(0, len(shares_T), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            states, shares = states_TD[rows], shares_T[rows].unsqueeze(1)
            logits = _logits(states, weight, bias_V, softcap, shares.dtype)
            teacher = _logits(teacher_states_TD[rows], teacher_weight, teacher_bias_V, softcap, shares.dtype)
            log_p = torch.log_softmax(logits / temperature, dim=1)
            teacher_log_p = torch.log_softmax(teacher.div_(temperature), dim=1)
            teacher_p = teacher_log_p.exp()
            nats_T[rows] = (teacher_log_p.sub_(log_p).mul_(teacher_p)).sum(1)
            if states_grad is None and weight_grad is None and bias_grad is None:
                continue
            # d loss / d logits = share * (student's softmax - teacher's) / temperature.
            gradient = log_p.exp_().sub_(teacher_p).mul_(shares / temperature)
            if softcap is not None:
                gradient *= 1.0 - (logits / softcap).square()
            if bias_grad is not None:
                bias_grad += gradient.sum(0)
            gradient = gradient.to(states.dtype)
            if states_grad is not None:
                states_grad[rows] = gradient @ weight
            if weight_grad is not None:
                weight_grad += gradient.T @ states
        ctx.gradients = (states_grad, weight_grad, bias_grad)
        ctx.mark_non_differentiable(nats_T)
        return torch.dot(nats_T, shares_T), nats_T

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        scaled = [None if one is None else one * gradients[0] for one in ctx.gradients]
        return (*scaled, None, None, None, None, None, None)


def _logits(
    states: Tensor, weight: Tensor, bias_V: Tensor | None, softcap: float | None, dtype: torch.dtype
) -> Tensor:
    logits = (states @ weight.T).to(dtype)
    if bias_V is not None:
        logits += bias_V
    return softcap * torch.tanh(logits / softcap) if softcap is not None else logits


def linear_kl_divergence(
    states_TD: Tensor,
    teacher_states_TD: Tensor,
    weight_VD: Tensor,
    shares_T: Tensor,
    *,
    teacher_weight_VD: Tensor | None = None,
    bias_V: Tensor | None = None,
    teacher_bias_V: Tensor | None = None,
    softcap: float | None = None,
    temperature: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Σ share · KL(teacher ‖ student) of softmax(logits / temperature), logits = states · weightᵀ + bias.

    Nothing of the teacher gets a gradient. The gradient of the student shrinks with the square of the
    temperature; who wants to keep it multiplies by that (Hinton et al. 2015, arXiv:1503.02531).

    Args:
        states_TD: The student's hidden states; logits are computed in their precision and read in that of the
            shares.
        teacher_states_TD: The teacher's, for the same tokens.
        weight_VD: The head's weight.
        shares_T: Weight of each token, float32 (float64 with float64 states).
        teacher_weight_VD: The teacher's head, where it is another; None: it has the student's, bias included.
        bias_V: The head's bias.
        teacher_bias_V: The teacher's, beside ``teacher_weight_VD``.
        softcap: c, where logits are capped as c · tanh(logits / c); None: they are not.
        temperature: Above 1 the improbable tokens count for more.

    Returns:
        The sum, a scalar with its graph; and the nats of each token (T,), without.
    """
    if teacher_weight_VD is None:
        teacher_weight_VD, teacher_bias_V = weight_VD, bias_V
    divergence, nats_T = _LinearDivergence.apply(  # type: ignore[no-untyped-call]
        states_TD,
        weight_VD,
        bias_V,
        teacher_states_TD.detach(),
        teacher_weight_VD.detach(),
        None if teacher_bias_V is None else teacher_bias_V.detach(),
        shares_T,
        softcap,
        temperature,
    )
    return divergence, nats_T
