"""New tokens as probable as they are frequent, before anything is trained.

A new row that is the mean of its pieces' rows gives its token a probability that has nothing to do with how
often the token comes: a piece of a character is common where the character is not. Here each new row is moved
along the mean hidden state h̄, by the one number that makes the token's mean probability over texts that were
seen its frequency in them: logits move by about as much everywhere. The rows hardly change (3 % of their norm
in SmolLM2), so they stay good as inputs where embedding and head are tied.

B: texts, L: tokens, T: predicted tokens, V: old rows, N: new rows, H: hidden size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["calibrate_rows", "frequency_offsets"]

_ROWS_AT_ONCE = 4
_STATES_AT_ONCE = 128
_NUM_ITERATIONS = 30
# A token that does not occur counts as half a time, so that its offset is finite.
_LEAST_COUNT = 0.5


@torch.no_grad()
def calibrate_rows(model: Any, first_row: int, ids_BL: Tensor, labels_BL: Tensor) -> Tensor:
    """Move the output rows of new tokens so that their mean probability is their frequency, in place.

    Costs one forward pass over the texts.

    Args:
        model: A causal model that was grown and is not split.
        first_row: V, of ``Growth``.
        ids_BL: Texts that were seen, in the new tokens.
        labels_BL: What follows each token; -100 where nothing is predicted.

    Returns:
        How far the logit of each new token was moved at the mean state (N,), in nats.
    """
    head = model.get_output_embeddings()
    caught: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
    was_training = model.training
    model.eval()
    try:
        for ids in torch.split(ids_BL, _ROWS_AT_ONCE):
            model(input_ids=ids, use_cache=False)
    finally:
        handle.remove()
        model.train(was_training)
    states_BLH = torch.cat(caught)
    is_predicted_BL = labels_BL != -100
    states_TH = states_BLH[is_predicted_BL].to(head.weight.dtype)
    labels_T = labels_BL[is_predicted_BL]
    old_T, new_TN = [], []
    for states in torch.split(states_TH, _STATES_AT_ONCE):
        logits = head(states).float()
        old_T.append(logits[:, :first_row].logsumexp(dim=1))
        new_TN.append(logits[:, first_row:])
    counts_N = torch.bincount(labels_T, minlength=len(head.weight))[first_row:].float()
    offsets_N = frequency_offsets(torch.cat(old_T), torch.cat(new_TN), counts_N)
    mean_H = states_TH.float().mean(dim=0)
    shift_NH = torch.outer(offsets_N, mean_H / mean_H.dot(mean_H))
    weight = head.weight
    weight[first_row:] = (weight[first_row:].float() + shift_NH).to(weight.dtype)
    return offsets_N


def frequency_offsets(old_T: Tensor, new_TN: Tensor, counts_N: Tensor) -> Tensor:
    """Offsets of logits with which tokens are predicted as often as they occur.

    The maximum-likelihood biases of new classes beside fixed old ones, by iterative proportional fitting
    (Darroch and Ratcliff 1972, generalised iterative scaling).

    Args:
        old_T: float32, log of the summed exponentials of the old tokens' logits.
        new_TN: float32, logits of the new tokens.
        counts_N: How often each new token is the one that comes.

    Returns:
        Offsets (N,), float32.
    """
    targets_N = counts_N.clamp(min=_LEAST_COUNT).log()
    offsets_N = torch.zeros_like(counts_N)
    for _ in range(_NUM_ITERATIONS):
        shifted_TN = new_TN + offsets_N
        total_T = torch.logaddexp(old_T, shifted_TN.logsumexp(dim=1))
        expected_N = (shifted_TN - total_T[:, None]).logsumexp(dim=0)
        offsets_N = offsets_N + targets_N - expected_N
    return offsets_N
