"""What a step of a language model minimizes: the mean cross-entropy of its target tokens.

R: rows, L: tokens of a row, T: predicted tokens, D: hidden size, V: vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from everlearn.context import NO_LABEL, Carry, CarryResult, LaneChunk, Rows, make_carry
from everlearn.learning.batch import Batch
from everlearn.learning.gradient.step import Part
from everlearn.learning.language.cross_entropy import linear_cross_entropy
from everlearn.learning.language.logit_form import LogitForm, output_head, own_cross_entropy
from everlearn.learning.language.segments import decode_segment
from everlearn.learning.objective import ForwardResult
from everlearn.memory import ModelExample
from everlearn.models.added_rows import SplitHead
from everlearn.models.encoder.rows import RowBatch, plan_packed, plan_single

__all__ = ["LanguageBatch", "LanguageObjective", "LanguageResult"]


@dataclass(frozen=True, slots=True, eq=False)
class LanguageBatch(Batch):
    """Segments of documents, and the rows that the fresh ones lie in.

    Attributes:
        chunks: Rows of the lanes in the order in which they are read; their labels are those of the fresh
            examples. Added examples have no rows yet; they are packed when they are run.
    """

    chunks: tuple[LaneChunk, ...] = ()


class LanguageResult:
    """What one forward pass of a language model gives.

    Attributes:
        loss: Mean cross-entropy of the target tokens in nats, with its graph; 0 where there are none.
        states_TD: Last hidden states that predict the target tokens, in the scale of the model's logits:
            first those of the lanes, then those of added examples.
        labels_T: The target tokens, int64.
        nats_T: Cross-entropy of each, without graph.
        carried: For each chunk of the batch its rows and what its lanes would carry on.
        form: How the model's logits come from its hidden states.
    """

    def __init__(
        self,
        loss: Tensor,
        states_TD: Tensor,
        labels_T: Tensor,
        nats_T: Tensor,
        carried: Sequence[tuple[Rows, CarryResult]],
        model: nn.Module,
        form: LogitForm,
    ) -> None:
        self.loss = loss
        self.states_TD = states_TD
        self.labels_T = labels_T
        self.nats_T = nats_T
        self.carried = carried
        self.form = form
        self._model = model

    @property
    def logits(self) -> Tensor:
        """Logits (T, V) of the target tokens, computed when asked for: they are large."""
        return self.form.of_scaled(self._model, self.states_TD)


class LanguageObjective:
    """Cross-entropy of next tokens, averaged over the target tokens of fresh and added segments alike.

    Fresh rows are run with the context of their lanes, added segments without any. A forward pass never
    changes the lanes' context.

    Args:
        model: The causal LM, for its kind of context.
        carry: The lanes' context.
        num_rows: Rows that are run at once.
        width: Their tokens, at most.
        autocast_dtype: Reduced precision of matrix products; None: the weights' own.
        form: How the model's logits come from its hidden states.

    Attributes:
        on_chunk: Is given every chunk of a step with its result, before anything of the step is learned.
    """

    labels: tuple[str, ...] = ()

    def __init__(
        self,
        model: nn.Module,
        carry: Carry,
        num_rows: int,
        width: int,
        autocast_dtype: torch.dtype | None,
        form: LogitForm,
    ) -> None:
        self.carry = carry
        self.form = form
        # Has never advanced and never will: what added segments are run with.
        self._no_context = make_carry(model, carry.config, max(num_rows, num_rows * width // 32))
        self._num_rows, self._width = num_rows, width
        self.autocast_dtype = autocast_dtype
        self.on_chunk: Callable[[LaneChunk, LanguageResult], None] | None = None

    def forward(self, model: nn.Module, batch: Batch) -> LanguageResult:
        """Run the model on the chunks of a ``LanguageBatch`` and on its added segments."""
        assert isinstance(batch, LanguageBatch)
        device = next(model.parameters()).device
        states: list[Tensor] = []
        labels: list[Tensor] = []
        carried: list[tuple[Rows, CarryResult]] = []
        enabled = self.autocast_dtype is not None
        with torch.autocast(device.type, self.autocast_dtype or torch.bfloat16, enabled=enabled):
            for chunk in batch.chunks:
                rows = Rows.from_chunk(chunk, device)
                result = self.carry.forward(model, rows)
                carried.append((rows, result))
                chosen_RL = torch.from_numpy(_targets(chunk)).to(device)
                states.append(result.states_RLH[chosen_RL])
                labels.append(torch.from_numpy(chunk.labels).to(device)[chosen_RL])
            added = batch.examples[batch.num_fresh :]
            for plan in self._plan(added):
                rows, labels_RL = _packed([added[k] for k in plan.sequences], plan, device)
                result = self._no_context.forward(model, rows)
                chosen_RL = labels_RL != NO_LABEL
                states.append(result.states_RLH[chosen_RL])
                labels.append(labels_RL[chosen_RL])
        return self._result(model, torch.cat(states), torch.cat(labels), carried)

    def _result(
        self,
        model: nn.Module,
        states_TD: Tensor,
        labels_T: Tensor,
        carried: Sequence[tuple[Rows, CarryResult]],
    ) -> LanguageResult:
        dtype = torch.float64 if states_TD.dtype == torch.float64 else torch.float32
        shares_T = torch.full((len(labels_T),), 1.0 / max(1, len(labels_T)), dtype=dtype).to(states_TD.device)
        states_TD = self.form.scaled(states_TD)
        if self.autocast_dtype is not None:
            states_TD = states_TD.to(self.autocast_dtype)
        if self.form.is_own:
            loss, nats_T = own_cross_entropy(model, states_TD, labels_T, shares_T)
            return LanguageResult(loss, states_TD, labels_T, nats_T, carried, model, self.form)
        head = output_head(model)
        # Rows in training are told apart from frozen ones, of which no gradient is computed.
        is_split = isinstance(head, SplitHead)
        loss, nats_T = linear_cross_entropy(
            states_TD,
            head.old_weight if is_split else head.weight,
            labels_T,
            shares_T,
            bias_V=self.form.bias(head),
            softcap=self.form.softcap,
            new_weight_ND=head.new_weight if is_split else None,
        )
        return LanguageResult(loss, states_TD, labels_T, nats_T, carried, model, self.form)

    def split(self, batch: Batch) -> list[list[Part]]:
        """Parts that fit the model: a chunk of every lane each, then the added segments.

        Chunks that gradients flow between are one group.
        """
        assert isinstance(batch, LanguageBatch)
        added = batch.examples[batch.num_fresh :]
        plans = self._plan(added)
        counts = [int(_targets(chunk).sum()) for chunk in batch.chunks]
        added_parts = [[added[k] for k in plan.sequences] for plan in plans]
        added_counts = [sum(_num_targets(segment) for segment in part) for part in added_parts]
        total = max(1, sum(counts) + sum(added_counts))
        together = self.carry.config.gradient_chunks + 1
        groups = []
        for start in range(0, len(batch.chunks), together):
            chunks = batch.chunks[start : start + together]
            groups.append(
                [
                    Part(
                        LanguageBatch((), 0, (chunk,)),
                        counts[start + k] / total,
                        partial(self._go_on, chunk, detach=k == len(chunks) - 1),
                    )
                    for k, chunk in enumerate(chunks)
                ]
            )
        for part, count in zip(added_parts, added_counts, strict=True):
            groups.append([Part(LanguageBatch(tuple(part), 0), count / total)])
        return groups

    def _go_on(self, chunk: LaneChunk, result: ForwardResult, detach: bool) -> None:
        assert isinstance(result, LanguageResult)
        if self.on_chunk is not None:
            self.on_chunk(chunk, result)
        for rows, carried in result.carried:
            self.carry.advance(rows, carried, detach=detach)
        if detach:
            self.carry.detach()  # lanes too that only earlier chunks of the group had tokens of

    def _plan(self, segments: Sequence[ModelExample]) -> list[RowBatch]:
        if not segments:
            return []
        lengths = [len(segment.input) - 1 for segment in segments]
        plan = plan_single if self.carry.one_document_per_row else plan_packed
        width = max(self._width, *lengths)
        return plan(lengths, max(width, self._num_rows * self._width), width)


def _targets(chunk: LaneChunk) -> npt.NDArray[np.bool_]:
    is_chosen: npt.NDArray[np.bool_] = (chunk.labels != NO_LABEL) & chunk.is_target
    return is_chosen


def _num_targets(segment: ModelExample) -> int:
    return int((np.asarray(segment.input[1:]) >= 0).sum())


def _packed(segments: Sequence[ModelExample], plan: RowBatch, device: torch.device) -> tuple[Rows, Tensor]:
    shape = (plan.num_rows, plan.width)
    ids = np.zeros(shape, np.int64)
    labels = np.full(shape, NO_LABEL, np.int64)
    document = np.full(shape, -1, np.int64)
    position = np.zeros(shape, np.int64)
    for k, segment in enumerate(segments):
        read, predicted = decode_segment(np.asarray(segment.input))
        place = (int(plan.rows[k]), slice(int(plan.offsets[k]), int(plan.offsets[k] + plan.lengths[k])))
        ids[place], labels[place] = read, predicted
        document[place], position[place] = k, np.arange(len(read))
    used = int(plan.rows.max()) + 1  # plans round the number of rows up
    arrays = (np.arange(used), ids[:used], document[:used], position[:used])
    rows = Rows(*(torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in arrays))
    return rows, torch.from_numpy(labels[:used]).to(device)
