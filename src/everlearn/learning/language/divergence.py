"""How far a language model's predictions are from another's, without the logits of all tokens in memory.

T: tokens, D: hidden size, V: vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["Head", "linear_kl_divergence"]

# As in cross_entropy.py, for two sets of logits instead of one.
_ROWS_AT_ONCE = 128


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """What makes logits of hidden states: states · weightᵀ + bias."""

    weight_VD: Tensor
    bias_V: Tensor | None = None

    def detached(self) -> Head:
        """The same values, kept in the storage of this moment, without gradients."""
        return Head(self.weight_VD.detach(), None if self.bias_V is None else self.bias_V.detach())


@dataclass(frozen=True, slots=True, eq=False)
class _Teacher:
    states_TD: Tensor
    head: Head
    softcap: float | None
    temperature: float


class _LinearDivergence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states_TD: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        shares_T: Tensor,
        teacher: _Teacher,
    ) -> tuple[Tensor, Tensor]:
        softcap, temperature = teacher.softcap, teacher.temperature
        needs_states, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        weight = weight_VD.to(states_TD.dtype)
        teacher_head = Head(teacher.head.weight_VD.to(teacher.states_TD.dtype), teacher.head.bias_V)
        nats_T = torch.empty_like(shares_T)
        states_grad = torch.empty_like(states_TD) if needs_states else None
        weight_grad = torch.zeros_like(weight_VD) if needs_weight else None
        bias_grad = torch.zeros_like(bias_V) if needs_bias and bias_V is not None else None
        for start in range(0, len(shares_T), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            states, shares = states_TD[rows], shares_T[rows].unsqueeze(1)
            logits = _logits(states, Head(weight, bias_V), softcap, shares.dtype)
            teacher_logits = _logits(teacher.states_TD[rows], teacher_head, softcap, shares.dtype)
            log_p = torch.log_softmax(logits / temperature, dim=1)
            teacher_log_p = torch.log_softmax(teacher_logits.div_(temperature), dim=1)
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
        scaled = [None if gradient is None else gradient * gradients[0] for gradient in ctx.gradients]
        return (*scaled, None, None)


def _logits(states: Tensor, head: Head, softcap: float | None, dtype: torch.dtype) -> Tensor:
    logits = (states @ head.weight_VD.T).to(dtype)
    if head.bias_V is not None:
        logits += head.bias_V
    return softcap * torch.tanh(logits / softcap) if softcap is not None else logits


def linear_kl_divergence(
    states_TD: Tensor,
    teacher_states_TD: Tensor,
    head: Head,
    shares_T: Tensor,
    *,
    teacher_head: Head | None = None,
    softcap: float | None = None,
    temperature: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Σ share · KL(teacher ‖ student) of softmax(logits / temperature).

    Nothing of the teacher gets a gradient. The gradient of the student shrinks with the square of the
    temperature; who wants to keep it multiplies by that (Hinton et al. 2015, arXiv:1503.02531).

    Args:
        states_TD: The student's hidden states; logits are computed in their precision and read in that of the
            shares.
        teacher_states_TD: The teacher's, for the same tokens.
        head: The student's.
        shares_T: Weight of each token, float32 (float64 with float64 states).
        teacher_head: The teacher's, where it is another; None: it has the student's.
        softcap: c, where logits are capped as c · tanh(logits / c); None: they are not.
        temperature: Above 1 the improbable tokens count for more.

    Returns:
        The sum, a scalar with its graph; and the nats of each token (T,), without.
    """
    others = (head if teacher_head is None else teacher_head).detached()
    teacher = _Teacher(teacher_states_TD.detach(), others, softcap, temperature)
    divergence, nats_T = _LinearDivergence.apply(  # type: ignore[no-untyped-call]
        states_TD, head.weight_VD, head.bias_V, shares_T, teacher
    )
    return divergence, nats_T
