"""One forward pass over a batch of rows, and the test whether a model can take several texts in a row.

Shapes: R rows, W slots a row, N sequences in those rows, D hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from everlearn.models.encoder.load import Trunk
from everlearn.models.encoder.pooling import Pooler
from everlearn.models.encoder.rows import RowBatch, plan_packed, plan_single
from everlearn.models.encoder.token_limits import num_rows

__all__ = ["RowForward", "find_row_forward"]

TokenIds = Sequence[Sequence[int]]

# Different, so that rows do not look alike; the long one shows models that attend otherwise in long texts.
_PROBE_LENGTHS = (2, 3, 5, 7, 11, 13, 523)


@dataclass(frozen=True, slots=True)
class RowForward:
    """How a trunk is run over rows.

    Attributes:
        trunk: The model.
        first_position: Position id of a text's first token where texts are separated by a block mask and
            position ids of their own; None where the model takes neither, so a row holds one text.
    """

    trunk: Trunk
    first_position: int | None

    def pooled(self, batch: RowBatch, token_ids: TokenIds, layers: Sequence[int]) -> torch.Tensor:
        """Pooled hidden states of the batch's sequences after the given layers: float32 (N, layers, D)."""
        trunk = self.trunk
        inputs = _packed_inputs if self.first_position is not None else _padded_inputs
        with torch.inference_mode():
            output = trunk.model(
                **inputs(self, batch, token_ids), output_hidden_states=True, return_dict=True
            )
            pool = Pooler(trunk.pooling, batch, trunk.device)
            return torch.stack([pool(output.hidden_states[layer]) for layer in layers], dim=1)


def find_row_forward(trunk: Trunk) -> RowForward:
    """Find out by trying whether several texts can share a row, and with which first position id.

    Models differ in whether they take a block mask and position ids, and number positions from 0 or from
    behind the padding id. A few token sequences are run alone and packed; packing is used where both agree.
    """
    plain = RowForward(trunk, None)
    specials = set(trunk.tokenizer.all_special_ids)
    known = min(len(trunk.tokenizer), num_rows(trunk.model))
    ordinary = [token for token in range(known) if token not in specials]
    if not ordinary or _has_local_attention(trunk):
        return plain
    lengths = [min(length, trunk.max_length) for length in _PROBE_LENGTHS]
    token_ids = [[ordinary[(7919 * i + 31 * n) % len(ordinary)] for i in range(n)] for n in lengths]
    layers = range(1, trunk.num_layers + 1)
    alone = torch.stack(
        [
            plain.pooled(batch, [sequence], layers)[0]
            for sequence in token_ids
            for batch in plan_single([len(sequence)], 1, trunk.max_length)
        ]
    )
    tolerance = 1e-5 if trunk.dtype == torch.float32 else 1e-3
    for first_position in dict.fromkeys((0, _pad_id(trunk) + 1)):
        candidate = RowForward(trunk, first_position)
        together = torch.empty_like(alone)
        try:
            for batch in plan_packed(lengths, 64, trunk.max_length):
                together[torch.from_numpy(batch.sequences)] = candidate.pooled(batch, token_ids, layers)
        except (TypeError, ValueError, RuntimeError, IndexError):
            continue  # the model takes no such mask or positions: that is the answer
        if bool((torch.cosine_similarity(alone, together, dim=-1) > 1 - tolerance).all()):
            return candidate
    return plain


def _has_local_attention(trunk: Trunk) -> bool:
    """Whether some layers see only a neighbourhood, which a block mask of our own would lift."""
    config = trunk.model.config
    layer_types = set(getattr(config, "layer_types", None) or ())
    return bool(layer_types - {"full_attention"}) or getattr(config, "local_attention", None) is not None


def _packed_inputs(run: RowForward, batch: RowBatch, token_ids: TokenIds) -> dict[str, torch.Tensor]:
    """Ids and positions (R, W) and an additive mask (R, 1, W, W) that parts the texts of a row."""
    assert run.first_position is not None
    ids = np.full((batch.num_rows, batch.width), _pad_id(run.trunk), np.int64)
    positions = np.full_like(ids, run.first_position)
    owners = np.full_like(ids, -1)  # padding sees padding: a row without any key would give NaN
    ascending = np.arange(run.first_position, run.first_position + batch.width)
    for sequence, row, offset, length, segment in zip(
        batch.sequences.tolist(),
        batch.rows.tolist(),
        batch.offsets.tolist(),
        batch.lengths.tolist(),
        batch.segments.tolist(),
        strict=True,
    ):
        end = offset + length
        ids[row, offset:end] = token_ids[sequence]
        positions[row, offset:end] = ascending[:length]
        owners[row, offset:end] = segment
    device, dtype = run.trunk.device, run.trunk.dtype
    owner = torch.from_numpy(owners).to(device)
    mask = torch.zeros(batch.num_rows, 1, batch.width, batch.width, dtype=dtype, device=device)
    mask.masked_fill_((owner[:, None, :, None] != owner[:, None, None, :]), torch.finfo(dtype).min)
    return {
        "input_ids": torch.from_numpy(ids).to(device),
        "position_ids": torch.from_numpy(positions).to(device),
        "attention_mask": mask,
    }


def _padded_inputs(run: RowForward, batch: RowBatch, token_ids: TokenIds) -> dict[str, torch.Tensor]:
    """Ids (R, W) and, where there is padding, a mask (R, W)."""
    ids = np.full((batch.num_rows, batch.width), _pad_id(run.trunk), np.int64)
    mask = np.zeros_like(ids)
    mask[:, 0] = 1  # an empty row keeps one key: without any it would give NaN
    for sequence, row, length in zip(
        batch.sequences.tolist(), batch.rows.tolist(), batch.lengths.tolist(), strict=True
    ):
        ids[row, :length] = token_ids[sequence]
        mask[row, :length] = 1
    inputs = {"input_ids": torch.from_numpy(ids).to(run.trunk.device)}
    if not mask.all():
        inputs["attention_mask"] = torch.from_numpy(mask).to(run.trunk.device)
    return inputs


def _pad_id(trunk: Trunk) -> int:
    pad = trunk.tokenizer.pad_token_id
    return 0 if pad is None else int(pad)
