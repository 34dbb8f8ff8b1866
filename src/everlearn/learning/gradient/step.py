"""One gradient step with the methods' hooks: the loop that ``Method`` documents."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from everlearn.errors import ModelError
from everlearn.learning.batch import Batch
from everlearn.learning.method import Method, StepContext

__all__ = ["gradient_step"]


def gradient_step(
    fresh: Batch,
    methods: Sequence[Method],
    optimizer: Optimizer,
    context: StepContext,
    *,
    max_gradient_norm: float | None,
) -> tuple[float, Batch]:
    """Change the parameters once, in place.

    Args:
        fresh: What came from the stream; not empty.
        methods: Their hooks run phase by phase, in this order within a phase.
        optimizer: Over ``context.parameters``, with its learning rates set.
        context: Model, objective and where the stream stands.
        max_gradient_norm: The total norm that gradients are scaled down to, if they exceed it.

    Returns:
        Mean loss of the extended batch in nats before the update, penalties left out; and that batch.

    Raises:
        ModelError: Loss or gradient is not finite. The parameters are as they were.
    """
    batch = fresh
    for method in methods:
        batch = method.extend_batch(batch, context)
    assert batch.fresh == fresh.examples, "extend_batch must leave the fresh examples first"

    optimizer.zero_grad(set_to_none=True)
    result = context.objective.forward(context.model, batch)
    loss = result.loss
    for method in methods:
        penalty = method.penalty(batch, result, context)
        if penalty is not None:
            loss = loss + penalty
    _require_finite(float(loss.detach()), "loss", context.step)
    loss.backward()  # type: ignore[no-untyped-call]

    for method in methods:
        method.adjust_gradients(context)
    if max_gradient_norm is not None:
        norm = clip_grad_norm_(context.parameters.values(), max_gradient_norm, foreach=True)
        _require_finite(float(norm), "norm of the gradients", context.step)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)

    with torch.no_grad():
        for method in methods:
            method.after_step(fresh, context)
    return float(result.loss.detach()), batch


def _require_finite(value: float, name: str, step: int) -> None:
    if not math.isfinite(value):
        raise ModelError(
            f"the {name} is {value} at step {step}: training diverged; "
            "use a lower learning rate or a lower max_gradient_norm"
        )
