"""The six places at which a continual-learning method may change a gradient step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from everlearn.learning.batch import Batch
from everlearn.learning.objective import ForwardResult, Objective
from everlearn.types import Boundary, State

__all__ = ["BoundaryContext", "Method", "StepContext"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StepContext:
    """What a method sees of the step it takes part in.

    Attributes:
        model: Maps a sequence of input arrays to logits.
        objective: What the step minimizes; call it for further forward passes.
        parameters: The trainable parameters by name, in a fixed order. A head grows within its
            parameter: the object stays, its first dimension becomes longer.
        step: Steps made before this one.
        num_examples: Fresh examples learned before this step.
        labels: Known labels in the order of the logits, those of this batch included.
    """

    model: nn.Module
    objective: Objective
    parameters: Mapping[str, nn.Parameter]
    step: int
    num_examples: int
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BoundaryContext:
    """What a method sees at a boundary: the same, between two steps.

    Attributes:
        model: Maps a sequence of input arrays to logits.
        objective: What the steps minimize.
        parameters: The trainable parameters by name.
        step: Steps made so far.
        num_examples: Fresh examples learned so far.
        labels: Known labels in the order of the logits.
    """

    model: nn.Module
    objective: Objective
    parameters: Mapping[str, nn.Parameter]
    step: int
    num_examples: int
    labels: tuple[str, ...]


class Method(ABC):
    """A continual-learning method: at most six typed hooks around one gradient step.

    ::

        attach(model)                               once, before the optimizer exists (LoRA, masks)
        for each fresh batch:
            batch  = extend_batch(batch, context)   replay, pseudo-rehearsal
            result = objective.forward(model, batch)
            loss   = result.loss + Σ penalty(batch, result, context)      EWC, SI, distillation
            loss.backward()
            adjust_gradients(context)               A-GEM, OGD, orthogonal subspaces: the one in-place hook
            clip, optimizer.step()
            after_step(fresh, context)              memory insert, path integrals; without gradients
        on_boundary(boundary, context)              on drift, schedule or request: Fisher, teacher, adapter
        state() / restore(state)                    abstract: a method cannot resume wrong by default
        forget(ids)                                 abstract: nor keep an example by default

    With several methods the order is phase first, then list order: every method's ``extend_batch``
    runs before any method's ``penalty``. A hook that a method does not override does nothing.

    A method keeps its random numbers in generators of its own, part of its state; it never draws
    from the global ones. ``everlearn.checks.check_method`` holds a method to this.
    """

    def attach(self, model: nn.Module) -> None:
        """Change the model before the optimizer exists: add modules, choose ``requires_grad``."""

    def extend_batch(self, batch: Batch, context: StepContext) -> Batch:
        """The batch to learn; the fresh examples stay its first ``num_fresh``."""
        return batch

    def penalty(self, batch: Batch, result: ForwardResult, context: StepContext) -> Tensor | None:
        """A scalar that is added to the loss, or None."""
        return None

    def adjust_gradients(self, context: StepContext) -> None:
        """Change the parameters' ``grad`` in place, after the backward pass and before clipping."""

    def after_step(self, fresh: Batch, context: StepContext) -> None:
        """Look at the fresh batch (without what methods added) after the parameters have changed."""

    def on_boundary(self, boundary: Boundary, context: BoundaryContext) -> None:
        """Consolidate; called between two steps."""

    @abstractmethod
    def state(self) -> State:
        """A copy of everything that decides what the method does next."""

    @abstractmethod
    def restore(self, state: State) -> None:
        """Replace the state. Raises StateError where it does not fit."""

    @abstractmethod
    def forget(self, ids: Collection[str]) -> int:
        """Remove stored examples with these ids; returns how many of them were stored."""
