"""Whether a model does with masks, positions and caches what is expected of them, found by running it.

Architectures differ in what they take: some build a bias from a mask of two dimensions, some count positions
themselves. Rather than knowing each, a few tokens are run both ways.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from everlearn.context.carry import Carry, Rows
from everlearn.context.decoder import decoder_of, evaluating
from everlearn.context.decoding import run_decoder
from everlearn.errors import EverlearnError

__all__ = ["carries_on", "parts_documents"]

# Far above rounding in bfloat16 and far below what a wrong context does.
_TOLERANCE = 0.05
_FAILURES = (RuntimeError, ValueError, TypeError, IndexError, AttributeError, KeyError, EverlearnError)
_LENGTH = 8
_PARTING: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()
_CARRYING: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def parts_documents(model: nn.Module) -> bool:
    """Whether two documents in one row give what they give alone."""
    decoder = decoder_of(model)
    if decoder not in _PARTING:
        _PARTING[decoder] = _try_parting(model, decoder)
    return _PARTING[decoder]


def carries_on(model: nn.Module, carry: Carry) -> bool:
    """Whether a document read in two chunks gives what it gives in one.

    Args:
        model: The causal LM.
        carry: A fresh one of one lane.
    """
    decoder = decoder_of(model)
    if decoder not in _CARRYING:
        _CARRYING[decoder] = _try_carrying(model, decoder, carry)
    return _CARRYING[decoder]


def _try_parting(model: nn.Module, decoder: Any) -> bool:
    rows = _rows(decoder, documents=2)
    try:
        with evaluating(decoder):
            together = run_decoder(model, rows, rows.position_RL, None, None, None)
            alone = [_alone(decoder, rows.ids_RL[:, place]) for place in _halves()]
    except _FAILURES:
        return False  # it does not take such masks or positions: that is the answer
    return _agree(together, torch.cat(alone, 1))


def _try_carrying(model: nn.Module, decoder: Any, carry: Carry) -> bool:
    rows = _rows(decoder, documents=1)
    found = []
    try:
        with evaluating(decoder):
            whole = _alone(decoder, rows.ids_RL)
            for place in _halves():
                part = Rows(
                    rows.lanes_R,
                    rows.ids_RL[:, place],
                    rows.document_RL[:, place],
                    rows.position_RL[:, place],
                )
                result = carry.forward(model, part)
                carry.advance(part, result)
                found.append(result.states_RLH)
    except _FAILURES:
        return False
    return _agree(found[1], whole[:, _LENGTH:])


def _halves() -> tuple[slice, slice]:
    return slice(_LENGTH), slice(_LENGTH, None)


def _rows(decoder: Any, documents: int) -> Rows:
    device = next(decoder.parameters()).device
    column_L = torch.arange(2 * _LENGTH, device=device)
    vocabulary = int(decoder.config.get_text_config().vocab_size)
    document_L = column_L // _LENGTH if documents == 2 else torch.zeros_like(column_L)
    position_L = column_L % _LENGTH if documents == 2 else column_L
    ids_L = (column_L + 1) * 7919 % vocabulary
    return Rows(column_L[:1], ids_L[None], document_L[None], position_L[None])


def _alone(decoder: Any, ids_RL: Tensor) -> Tensor:
    states_RLH: Tensor = decoder(input_ids=ids_RL, use_cache=False).last_hidden_state
    return states_RLH


def _agree(found_RLH: Tensor, wanted_RLH: Tensor) -> bool:
    # The middle one of the tokens: rounding can send single ones to other experts.
    errors_L = (found_RLH - wanted_RLH).float().abs().amax((0, 2))
    return bool(errors_L.median() <= _TOLERANCE * wanted_RLH.float().abs().max())
