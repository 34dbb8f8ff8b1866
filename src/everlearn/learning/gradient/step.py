"""One gradient step with the methods' hooks: the loop that ``Method`` documents."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, get_total_norm
from torch.optim import Optimizer

from everlearn.errors import ModelError
from everlearn.learning.batch import Batch
from everlearn.learning.method import Method, StepContext
from everlearn.learning.objective import ForwardResult

__all__ = ["Part", "StepResult", "gradient_step"]


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """What is run through the model at once, of a batch that is too large for it.

    Attributes:
        batch: Examples of the part; the fresh ones come first.
        weight: Its share of the step's loss; the weights of a step sum to 1.
        after_forward: Is given the part's result, in order: carried context goes on here.
    """

    batch: Batch
    weight: float
    after_forward: Callable[[ForwardResult], None] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class StepResult:
    """What one step did.

    Attributes:
        loss: Mean loss of the extended batch in nats before the update, penalties left out.
        batch: The extended batch.
        gradient_norm: Total norm of the gradients before clipping.
        skipped: Why the parameters were left as they were; None where they were changed.
    """

    loss: float
    batch: Batch
    gradient_norm: float
    skipped: str | None = None


def gradient_step(
    fresh: Batch,
    methods: Sequence[Method],
    optimizer: Optimizer,
    context: StepContext,
    *,
    max_gradient_norm: float | None,
    split: Callable[[Batch], Sequence[Sequence[Part]]] | None = None,
    refuse: Callable[[float, float], str | None] | None = None,
) -> StepResult:
    """Change the parameters once, in place.

    A large batch is split into groups of parts. Gradients add up over all of them (gradient accumulation);
    the parts of one group share one backward pass, so that gradients can flow from a part into those before
    it. Penalties are added to each part and so count by its weight.

    Args:
        fresh: What came from the stream; not empty.
        methods: Their hooks run phase by phase, in this order within a phase.
        optimizer: Over ``context.parameters``, with its learning rates set.
        context: Model, objective and where the stream stands.
        max_gradient_norm: The total norm that gradients are scaled down to, if they exceed it.
        split: The extended batch as groups of parts; None: all of it at once.
        refuse: Is asked with loss and gradient norm before the update; a reason leaves it out.

    Raises:
        ModelError: Loss or gradient is not finite. The parameters are as they were.
    """
    batch = fresh
    for method in methods:
        batch = method.extend_batch(batch, context)
    assert batch.fresh == fresh.examples, "extend_batch must leave the fresh examples first"

    optimizer.zero_grad(set_to_none=True)
    total = 0.0
    for group in split(batch) if split is not None else [[Part(batch, 1.0)]]:
        loss, group_total = _group_loss(group, methods, context)
        _require_finite(float(loss.detach()), "loss", context.step)
        if loss.requires_grad:  # nothing of a group of parts without targets can be learned
            loss.backward()  # type: ignore[no-untyped-call]
        total += group_total

    for method in methods:
        method.adjust_gradients(context)
    norm = _norm(context, max_gradient_norm)
    _require_finite(norm, "norm of the gradients", context.step)
    reason = None if refuse is None else refuse(total, norm)
    if reason is None:
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)

    if reason is None:
        with torch.no_grad():
            for method in methods:
                method.after_step(fresh, context)
    return StepResult(total, batch, norm, reason)


def _group_loss(
    group: Sequence[Part], methods: Sequence[Method], context: StepContext
) -> tuple[Tensor, float]:
    loss: Tensor | None = None
    total = 0.0
    for part in group:
        result = context.objective.forward(context.model, part.batch)
        part_loss = result.loss
        total += part.weight * float(result.loss.detach())
        for method in methods:
            penalty = method.penalty(part.batch, result, context)
            if penalty is not None:
                part_loss = part_loss + penalty
        part_loss = part_loss * part.weight if part.weight != 1.0 else part_loss
        loss = part_loss if loss is None else loss + part_loss
        if part.after_forward is not None:
            part.after_forward(result)
    assert loss is not None, "a group has at least one part"
    return loss, total


def _norm(context: StepContext, max_gradient_norm: float | None) -> float:
    parameters = list(context.parameters.values())
    if max_gradient_norm is not None:
        return float(clip_grad_norm_(parameters, max_gradient_norm, foreach=True))
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return float(get_total_norm(gradients, foreach=True))


def _require_finite(value: float, name: str, step: int) -> None:
    if not math.isfinite(value):
        raise ModelError(
            f"the {name} is {value} at step {step}: training diverged; "
            "use a lower learning rate (--learning-rate) or a lower max_gradient_norm (--clip)"
        )
