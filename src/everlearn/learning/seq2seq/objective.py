"""What a step of an encoder-decoder minimizes: the mean cross-entropy of target tokens, teacher-forced.

B: examples, S: source tokens, L: target tokens of an example, T: target tokens of all examples,
V: vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from everlearn.learning.batch import Batch
from everlearn.learning.gradient.length_groups import length_groups
from everlearn.learning.gradient.step import Part
from everlearn.learning.objective import ForwardResult
from everlearn.learning.seq2seq.pairs import unpack_pair

__all__ = ["Seq2SeqObjective", "Seq2SeqResult", "pad"]

IdArray = npt.NDArray[np.integer[Any]]

# What one more pass costs, in tokens of sources and targets: kernels of products are made for each new shape.
_GROUP_COST = 1_024
# Lengths are rounded up, so that shapes recur.
_LENGTH_MULTIPLE = 4


@dataclass(frozen=True, slots=True, eq=False)
class Seq2SeqResult:
    """What one forward pass gives.

    Attributes:
        loss: Mean over the target tokens in nats, smoothed if asked for, with its graph.
        logits: (T, V), float32, a row for each target token, example by example.
        nats_B: Sum of -ln p over the target tokens of each example, never smoothed, without graph.
        tokens_B: Target tokens of each example, int64.
    """

    loss: Tensor
    logits: Tensor
    nats_B: Tensor
    tokens_B: Tensor


class Seq2SeqObjective:
    """Cross-entropy of target tokens, given the source and the target tokens before them.

    Each token counts the same, of fresh and added examples alike.

    Args:
        start_id: What the decoder reads first.
        pad_id: Fills rows up; has no influence.
        label_smoothing: ε: the loss is (1 - ε)·(-ln p of the target) + ε·(mean of -ln p over the vocabulary)
            (Szegedy et al., "Rethinking the Inception architecture", 2016).
        tokens_at_once: Padded tokens of one part of a step.
        max_length: Tokens that the model takes on a side; None: any number.
        autocast_dtype: Reduced precision of matrix products; None: the weights' own.
    """

    labels: tuple[str, ...] = ()

    def __init__(
        self,
        start_id: int,
        pad_id: int,
        label_smoothing: float = 0.0,
        tokens_at_once: int = 8_192,
        max_length: int | None = None,
        autocast_dtype: torch.dtype | None = None,
    ) -> None:
        self._start_id = start_id
        self._pad_id = pad_id
        self._label_smoothing = label_smoothing
        self._tokens_at_once = tokens_at_once
        self._max_length = max_length
        self._autocast_dtype = autocast_dtype

    def forward(self, model: nn.Module, batch: Batch) -> Seq2SeqResult:
        """Run the model on a batch of packed pairs.

        Raises:
            InputError: An input is no pair.
        """
        pairs = [unpack_pair(array) for array in batch.inputs]
        device = next(model.parameters()).device
        sources_BS, is_source_BS = pad(
            [source for source, _ in pairs], self._pad_id, device, self._max_length
        )
        labels_BL, is_label_BL = pad([target for _, target in pairs], self._pad_id, device, self._max_length)
        read_BL = labels_BL.roll(1, dims=1)
        read_BL[:, 0] = self._start_id
        enabled = self._autocast_dtype is not None
        with torch.autocast(device.type, self._autocast_dtype or torch.bfloat16, enabled=enabled):
            logits_BLV: Tensor = model(
                input_ids=sources_BS,
                attention_mask=is_source_BS.long(),
                decoder_input_ids=read_BL,
                use_cache=False,
            ).logits
        logits_TV = logits_BLV[is_label_BL]
        if logits_TV.dtype in (torch.bfloat16, torch.float16):
            logits_TV = logits_TV.float()
        log_p_TV = logits_TV.log_softmax(dim=1)
        nats_T = -log_p_TV.gather(1, labels_BL[is_label_BL].unsqueeze(1)).squeeze(1)
        loss = nats_T.mean()
        if self._label_smoothing > 0.0:
            loss = (1.0 - self._label_smoothing) * loss - self._label_smoothing * log_p_TV.mean()
        nats_BL = torch.zeros(labels_BL.shape, dtype=torch.float64, device=device)
        nats_BL[is_label_BL] = nats_T.detach().double()
        return Seq2SeqResult(loss, logits_TV, nats_BL.sum(dim=1), is_label_BL.sum(dim=1))

    def split(
        self,
        batch: Batch,
        after_forward: Callable[[Batch, Seq2SeqResult], None] | None = None,
    ) -> list[list[Part]]:
        """A batch as parts of like length, each with a backward pass of its own.

        Together they give the loss and the gradients of the whole batch: a part weighs as many tokens as
        it has.

        Args:
            batch: Packed pairs.
            after_forward: Is given each part's batch and result.
        """
        num_targets = [len(unpack_pair(array)[1]) for array in batch.inputs]
        total = sum(num_targets)
        parts = []
        lengths = [len(array) for array in batch.inputs]
        for group in length_groups(lengths, group_cost=_GROUP_COST, max_tokens=self._tokens_at_once):
            places = sorted(group)
            part = Batch(
                tuple(batch.examples[place] for place in places),
                sum(place < batch.num_fresh for place in places),
            )
            weight = sum(num_targets[place] for place in places) / total
            parts.append([Part(part, weight, _call(after_forward, part))])
        return parts


def _call(
    after_forward: Callable[[Batch, Seq2SeqResult], None] | None, part: Batch
) -> Callable[[ForwardResult], None] | None:
    if after_forward is None:
        return None

    def call(result: ForwardResult) -> None:
        assert isinstance(result, Seq2SeqResult)
        after_forward(part, result)

    return call


def pad(
    sequences: Sequence[IdArray], pad_id: int, device: torch.device, max_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """Token ids int64 (B, S), filled up at the end, and which of them are tokens, bool (B, S).

    Args:
        sequences: Token ids.
        pad_id: Fills rows up.
        device: Of the tensors.
        max_length: S is rounded up to a multiple of 4 where it does not exceed this; None: always.
    """
    length = max(map(len, sequences))
    rounded = -(-length // _LENGTH_MULTIPLE) * _LENGTH_MULTIPLE
    if max_length is None or rounded <= max_length:
        length = rounded
    ids_BS = np.full((len(sequences), length), pad_id, dtype=np.int64)
    is_token_BS = np.zeros(ids_BS.shape, dtype=bool)
    for row, ids in enumerate(sequences):
        ids_BS[row, : len(ids)] = ids
        is_token_BS[row, : len(ids)] = True
    return torch.from_numpy(ids_BS).to(device), torch.from_numpy(is_token_BS).to(device)
