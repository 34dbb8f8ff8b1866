"""Distillation from a snapshot: the model is held to what it said a while ago.

T: rows of logits (tokens of a language model, examples of a classifier), C: columns (tokens, labels).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from everlearn.errors import ConfigError, StateError
from everlearn.learning.batch import Batch
from everlearn.learning.language import LanguageBatch, LanguageResult
from everlearn.learning.language.divergence import Head, linear_kl_divergence
from everlearn.learning.language.logit_form import LogitForm, output_head
from everlearn.learning.method import BoundaryContext, Method, StepContext
from everlearn.learning.objective import ForwardResult
from everlearn.methods.snapshot import Snapshot
from everlearn.types import Boundary, State

__all__ = ["DistillationConfig", "DistilledPart", "SnapshotDistillation"]

DistilledPart = Literal["added", "fresh", "all"]


@dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    """Settings of distillation from a snapshot.

    Attributes:
        weight: Of the divergence, beside the cross-entropy of the same tokens or examples.
        temperature: Both distributions are softened by it.
        on: What is distilled on. "added": what other methods added; without replay there is nothing. "fresh":
            the stream's own, as in the original; no memory is needed, and a language model's teacher reads
            it with the carried context that the student made. "all": both.
        renew_at_boundaries: The model becomes its own new teacher at every boundary. Without, the teacher
            stays what the model was at the start (or after ``renew_every_steps``).
        renew_every_steps: It also does so after so many steps.

    Raises:
        ConfigError: Names the field and the value.
    """

    weight: float = 1.0
    temperature: float = 2.0
    on: DistilledPart = "added"
    renew_at_boundaries: bool = True
    renew_every_steps: int | None = None

    def __post_init__(self) -> None:
        if not (self.weight >= 0.0 and math.isfinite(self.weight)):
            raise ConfigError(f"weight must be a number from 0, not {self.weight!r}")
        if not (self.temperature > 0.0 and math.isfinite(self.temperature)):
            raise ConfigError(f"temperature must be a positive number, not {self.temperature!r}")
        if self.on not in get_args(DistilledPart):
            raise ConfigError(f"on must be one of {list(get_args(DistilledPart))}, not {self.on!r}")
        if self.renew_every_steps is not None and self.renew_every_steps < 1:
            raise ConfigError(f"renew_every_steps must be None or at least 1, not {self.renew_every_steps!r}")


class SnapshotDistillation(Method):
    """Adds weight · temperature² · KL(teacher ‖ model) (Li and Hoiem, "Learning without forgetting",
    ECCV 2016; the temperature is that of Hinton et al., arXiv:1503.02531).

    The teacher is a copy of the trained parameters alone; it shares all others with the model and is run
    through the same objective. A classifier starts without labels, so it has no teacher before the first
    boundary; labels that came after the teacher are left out of the divergence. New words of a language model
    are in it: the teacher has their rows as they came in.

    The divergence is averaged over all rows of a part of the batch, and those that are not distilled on count
    as zero: a distilled row weighs as much against its own cross-entropy however the batch is cut into parts.

    Args:
        config: Weight, temperature, on what, from when.

    Example:
        >>> SnapshotDistillation(DistillationConfig(on="fresh")).config.temperature
        2.0
    """

    def __init__(self, config: DistillationConfig | None = None) -> None:
        self.config = config if config is not None else DistillationConfig()
        self._teacher = Snapshot()
        self._num_labels = 0
        self._taken_at_step = 0

    def extend_batch(self, batch: Batch, context: StepContext) -> Batch:
        """The same batch; before the first one the model becomes its teacher."""
        if not self._teacher.tensors:
            # The labels of this batch are already known, but nothing was learned of them.
            self._take(context, num_labels=0)
        self._teacher.complete(context.parameters)
        return batch

    def penalty(self, batch: Batch, result: ForwardResult, context: StepContext) -> Tensor | None:
        """The divergence of a part of the batch, scaled; None where there is nothing to distil."""
        is_classifier = bool(context.labels)
        if self.config.weight == 0.0 or (is_classifier and self._num_labels < 2):
            return None
        chosen = _chosen_part(batch, self.config.on)
        if chosen is None:
            return None
        with self._teacher.in_place_of(context.parameters), _evaluation_mode(context.model):
            teacher = context.objective.forward(context.model, chosen)
            teacher_head: Head | None = None
            if isinstance(teacher, LanguageResult) and not teacher.form.is_own:
                # Detached: parameters point back to the model's own storage later.
                teacher_head = _head(context.model, teacher.form).detached()
            teacher_logits = None if teacher_head is not None else teacher.logits.detach()
        if teacher_head is not None:
            assert isinstance(result, LanguageResult)
            assert isinstance(teacher, LanguageResult)
            divergence = self._of_tokens(result, teacher, teacher_head, context.model)
        else:
            assert teacher_logits is not None
            divergence = self._of_logits(result.logits, teacher_logits, is_classifier)
        return None if divergence is None else self.config.weight * self.config.temperature**2 * divergence

    def _of_tokens(
        self,
        result: LanguageResult,
        teacher: LanguageResult,
        teacher_head: Head,
        model: nn.Module,
    ) -> Tensor | None:
        num_rows, num_chosen = len(result.states_TD), len(teacher.states_TD)
        if num_chosen == 0:
            return None
        head = _head(model, result.form)
        dtype = torch.float64 if result.states_TD.dtype == torch.float64 else torch.float32
        shares_T = torch.full((num_chosen,), 1.0 / num_rows, dtype=dtype, device=head.weight_VD.device)
        is_other = teacher_head.weight_VD.data_ptr() != head.weight_VD.data_ptr()
        divergence, _ = linear_kl_divergence(
            result.states_TD[self._place(num_rows, num_chosen)],
            teacher.states_TD,
            head,
            shares_T,
            teacher_head=teacher_head if is_other else None,
            softcap=result.form.softcap,
            temperature=self.config.temperature,
        )
        return divergence

    def _of_logits(self, logits_TC: Tensor, teacher_TC: Tensor, is_classifier: bool) -> Tensor | None:
        num_rows, num_chosen = len(logits_TC), len(teacher_TC)
        if num_chosen == 0:
            return None
        columns = slice(self._num_labels if is_classifier else None)
        log_p, teacher_log_p = (
            functional.log_softmax(logits[:, columns] / self.config.temperature, dim=1)
            for logits in (logits_TC[self._place(num_rows, num_chosen)], teacher_TC)
        )
        return functional.kl_div(log_p, teacher_log_p, reduction="sum", log_target=True) / num_rows

    def _place(self, num_rows: int, num_chosen: int) -> slice:
        # Rows of fresh examples come before those of added ones, in every objective.
        return slice(num_chosen) if self.config.on == "fresh" else slice(num_rows - num_chosen, num_rows)

    def after_step(self, fresh: Batch, context: StepContext) -> None:
        """Renew the teacher where it has served long enough."""
        age = context.step + 1 - self._taken_at_step
        if self.config.renew_every_steps is not None and age >= self.config.renew_every_steps:
            self._take(context, len(context.labels), steps_made=1)

    def on_boundary(self, boundary: Boundary, context: BoundaryContext) -> None:
        """Make the model as it is now the teacher, if so configured."""
        if self.config.renew_at_boundaries:
            self._take(context, len(context.labels))

    def _take(self, context: StepContext | BoundaryContext, num_labels: int, steps_made: int = 0) -> None:
        self._teacher.take(context.parameters)
        self._num_labels = num_labels
        self._taken_at_step = context.step + steps_made

    def state(self) -> State:
        """The teacher, its number of labels and when it was taken."""
        return State(
            self._teacher.copies(), {"num_labels": self._num_labels, "taken_at_step": self._taken_at_step}
        )

    def restore(self, state: State) -> None:
        """Replace the teacher; whether it fits the model shows at the next step.

        Raises:
            StateError: The state is damaged.
        """
        try:
            num_labels, step = int(state.data["num_labels"]), int(state.data["taken_at_step"])
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"the saved teacher is damaged: {error!r}") from error
        self._teacher.load(state.tensors)
        self._num_labels, self._taken_at_step = num_labels, step

    def forget(self, ids: Collection[str]) -> int:
        """0: no example is stored."""
        return 0


def _chosen_part(batch: Batch, on: DistilledPart) -> Batch | None:
    """The batch without what is not distilled on; None where nothing is left."""
    if on == "all":
        return batch
    is_language = isinstance(batch, LanguageBatch)
    if on == "added":
        added = batch.examples[batch.num_fresh :]
        if not added:
            return None
        return LanguageBatch(added, 0) if is_language else replace(batch, examples=added, num_fresh=0)
    if isinstance(batch, LanguageBatch) and not batch.chunks:
        return None  # a part of added segments: the fresh ones are where the rows are
    if not is_language and batch.num_fresh == 0:
        return None
    return replace(batch, examples=batch.fresh)


@contextmanager
def _evaluation_mode(model: nn.Module) -> Iterator[None]:
    """No dropout within the block, so no random number is drawn either."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _head(model: nn.Module, form: LogitForm) -> Head:
    head = output_head(model)
    return Head(head.weight, form.bias(head))
