"""Generating targets: the source is encoded once, then one token a step with the decoder's cache.

R: rows that still run, S: source tokens, V: vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from everlearn.learning.gradient.length_groups import length_groups
from everlearn.learning.seq2seq.objective import pad

__all__ = ["Decoding", "Generated", "generate"]

IdArray = npt.NDArray[np.integer[Any]]

# A step of the decoder takes about as long for a hundred rows as for one, so splitting seldom pays.
_GROUP_COST = 4_096
# Where nobody says how long a target may be: it ends a model that repeats itself.
_LENGTH_RATIO, _LENGTH_MARGIN = 2.0, 16


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How targets are generated.

    Attributes:
        start_id: What the decoder reads first.
        end_id: Ends a target.
        pad_id: Is never generated.
        first_id: The first token of every target, where the model wants one (a language); else None.
        max_target_length: Tokens at most, end token included.
        bounded_by_source: A target has at most twice the source's tokens and 16 more, too.
        max_source_length: Tokens that the encoder takes; None: any number.
        num_beams: 1: greedy.
        length_penalty: For beams.
        tokens_at_once: Padded source tokens of one pass, times beams.
        autocast_dtype: Reduced precision of the encoder's products; None: the weights' own. The decoder's
            products are those of a few rows, which take longer to round than to compute.
    """

    start_id: int
    end_id: int
    pad_id: int
    first_id: int | None = None
    max_target_length: int
    bounded_by_source: bool = True
    max_source_length: int | None = None
    num_beams: int = 1
    length_penalty: float = 1.0
    tokens_at_once: int = 8_192
    autocast_dtype: torch.dtype | None = None


@dataclass(frozen=True, slots=True)
class Generated:
    """One generated target.

    Attributes:
        ids: Its token ids, end token included if it ended.
        log_probability: Sum over ``ids``, in nats.
    """

    ids: tuple[int, ...]
    log_probability: float

    @property
    def mean_probability(self) -> float:
        """Geometric mean of the tokens' probabilities."""
        return math.exp(self.log_probability / len(self.ids)) if self.ids else 0.0


def generate(model: Any, sources: Sequence[IdArray], decoding: Decoding) -> list[Generated]:
    """One target a source, in order.

    Args:
        model: An encoder-decoder of transformers, in evaluation mode.
        sources: Token ids, each not empty.
        decoding: How.
    """
    device = next(model.parameters()).device
    found: list[Generated | None] = [None] * len(sources)
    max_tokens = max(1, decoding.tokens_at_once // decoding.num_beams)
    groups = length_groups([len(ids) for ids in sources], group_cost=_GROUP_COST, max_tokens=max_tokens)
    search = _greedy if decoding.num_beams == 1 else _beams
    for group in groups:
        ids_BS, mask_BS = pad(
            [sources[place] for place in group], decoding.pad_id, device, decoding.max_source_length
        )
        limits = [_limit(len(sources[place]), decoding) for place in group]
        with torch.inference_mode():
            encoded = _encode(model, ids_BS, mask_BS.long(), decoding)
            results = search(model, encoded, mask_BS.long(), limits, decoding)
        for place, result in zip(group, results, strict=True):
            found[place] = result
    return [target for target in found if target is not None]


def _limit(source_length: int, decoding: Decoding) -> int:
    if not decoding.bounded_by_source:
        return decoding.max_target_length
    return min(decoding.max_target_length, int(_LENGTH_RATIO * source_length) + _LENGTH_MARGIN)


def _encode(model: Any, ids_BS: Tensor, mask_BS: Tensor, decoding: Decoding) -> Any:
    """The encoder's output; its states have the weights' precision."""
    enabled = decoding.autocast_dtype is not None
    with torch.autocast(ids_BS.device.type, decoding.autocast_dtype or torch.bfloat16, enabled=enabled):
        encoded = model.get_encoder()(input_ids=ids_BS, attention_mask=mask_BS)
    encoded.last_hidden_state = encoded.last_hidden_state.to(model.dtype)
    return encoded


def _greedy(
    model: Any, encoded: Any, mask_BS: Tensor, limits: Sequence[int], decoding: Decoding
) -> list[Generated]:
    count, device = len(limits), mask_BS.device
    tokens: list[list[int]] = [[] for _ in range(count)]
    sums = [0.0] * count
    running = list(range(count))
    mask_RS, cache = mask_BS, None
    last_R1 = torch.full((count, 1), decoding.start_id, dtype=torch.int64, device=device)
    for step in range(max(limits)):
        output = model(
            encoder_outputs=encoded,
            attention_mask=mask_RS,
            decoder_input_ids=last_R1,
            past_key_values=cache,
            use_cache=True,
        )
        cache = output.past_key_values
        log_p_RV = _log_probabilities(output.logits[:, -1], decoding, is_first=step == 0)
        best_R = log_p_RV.max(dim=1)
        kept = []
        for row, (token, log_p) in enumerate(
            zip(best_R.indices.tolist(), best_R.values.tolist(), strict=True)
        ):
            place = running[row]
            if len(tokens[place]) >= limits[place] or tokens[place][-1:] == [decoding.end_id]:
                continue  # ended before, but its row still runs along
            tokens[place].append(token)
            sums[place] += log_p
            if token != decoding.end_id and len(tokens[place]) < limits[place]:
                kept.append(row)
        if not kept:
            break
        last_R1 = best_R.indices.unsqueeze(1)
        # Taking rows out copies the cache: only where that spares a good part of the work.
        if len(kept) <= 0.75 * len(running):
            kept_R = torch.tensor(kept, device=device)
            running = [running[row] for row in kept]
            cache.batch_select_indices(kept_R)
            last_R1, mask_RS = last_R1[kept_R], mask_RS[kept_R]
            encoded.last_hidden_state = encoded.last_hidden_state[kept_R]
    return [Generated(tuple(ids), total) for ids, total in zip(tokens, sums, strict=True)]


def _log_probabilities(logits_RV: Tensor, decoding: Decoding, *, is_first: bool) -> Tensor:
    log_p_RV = logits_RV.float().log_softmax(dim=1)
    if is_first and decoding.first_id is not None:
        forced_RV = torch.full_like(log_p_RV, -math.inf)
        forced_RV[:, decoding.first_id] = 0.0
        return forced_RV
    if decoding.pad_id != decoding.end_id:
        log_p_RV[:, decoding.pad_id] = -math.inf
    return log_p_RV


def _beams(
    model: Any, encoded: Any, mask_BS: Tensor, limits: Sequence[int], decoding: Decoding
) -> list[Generated]:
    from transformers import GenerationConfig, StoppingCriteriaList

    make_config: Any = GenerationConfig  # it has no annotations
    never = [[decoding.pad_id]] if decoding.pad_id != decoding.end_id else None
    output = model.generate(
        encoder_outputs=encoded,
        attention_mask=mask_BS,
        generation_config=make_config(
            max_new_tokens=max(limits),
            num_beams=decoding.num_beams,
            length_penalty=decoding.length_penalty,
            do_sample=False,
            decoder_start_token_id=decoding.start_id,
            eos_token_id=decoding.end_id,
            pad_token_id=decoding.pad_id,
            forced_bos_token_id=decoding.first_id,
            bad_words_ids=never,
            return_dict_in_generate=True,
            output_scores=True,
        ),
        stopping_criteria=StoppingCriteriaList([_RowLimits(limits)]),
    )
    results = []
    rows, scores = output.sequences[:, 1:].tolist(), output.sequences_scores.tolist()
    for row, score, limit in zip(rows, scores, limits, strict=True):
        ended = row.index(decoding.end_id) + 1 if decoding.end_id in row else len(row)
        ids = tuple(row[: min(ended, limit)])
        results.append(Generated(ids, score * len(ids) ** decoding.length_penalty))
    return results


class _RowLimits:
    """Ends each row's beams at its own limit; what ``model.generate`` asks at every step.

    Without it the longest limit of a group would count for all, and a target would depend on its neighbours.
    """

    def __init__(self, limits: Sequence[int]) -> None:
        self._limits = limits

    def __call__(self, ids_RL: Tensor, _scores: Any, **_others: Any) -> Tensor:
        limits_R = torch.tensor(self._limits, device=ids_RL.device)
        limits_R = limits_R.repeat_interleave(len(ids_RL) // len(self._limits))
        # One token more: what the decoder reads first.
        return ids_RL.shape[1] - 1 >= limits_R
