"""Losses against a computation by hand in double precision: one example at a time, token by token."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.learning_seq2seq.conftest import MakeModel

from everlearn.errors import InputError
from everlearn.learning.batch import Batch
from everlearn.learning.seq2seq import Seq2SeqObjective, Seq2SeqResult, pack_pair, unpack_pair
from everlearn.memory import ModelExample

PAIRS = [
    ([5, 6, 7, 1], [20, 21, 1]),
    ([8, 1], [22, 23, 24, 25, 26, 1]),
    ([9, 10, 11, 12, 13, 1], [27, 1]),
    ([1], [1]),
]


def batch_of(pairs: list[tuple[list[int], list[int]]], num_fresh: int | None = None) -> Batch:
    examples = [ModelExample(str(row), "", pack_pair(*pair)) for row, pair in enumerate(pairs)]
    return Batch(tuple(examples), len(pairs) if num_fresh is None else num_fresh)


def nats_by_hand(model: Any, source: list[int], target: list[int]) -> list[tuple[float, float]]:
    """-ln p of each target token, and the mean of -ln p over the vocabulary, by one pass a token."""
    found = []
    with torch.no_grad():
        for place, token in enumerate(target):
            read = torch.tensor([[0, *target[:place]]])
            logits_V = model(input_ids=torch.tensor([source]), decoder_input_ids=read).logits[0, -1]
            # Plain formula, in numpy.
            values = logits_V.numpy()
            shifted = values - values.max()
            log_p = shifted - np.log(np.exp(shifted).sum())
            found.append((-float(log_p[token]), -float(log_p.mean())))
    return found


@pytest.mark.parametrize("kind", ["marian", "t5"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_equals_that_by_hand(make_model: MakeModel, kind: str, smoothing: float) -> None:
    model = make_model(kind).model.double()
    objective = Seq2SeqObjective(start_id=0, pad_id=0, label_smoothing=smoothing)
    result = objective.forward(model, batch_of(PAIRS))
    by_hand = [nats_by_hand(model, *pair) for pair in PAIRS]
    tokens = [pair for example in by_hand for pair in example]
    expected = np.mean([(1 - smoothing) * nats + smoothing * mean for nats, mean in tokens])
    assert float(result.loss.detach()) == pytest.approx(expected, rel=1e-12)
    assert result.nats_B.tolist() == pytest.approx([sum(n for n, _ in one) for one in by_hand], rel=1e-12)
    assert result.tokens_B.tolist() == [len(target) for _, target in PAIRS]
    # A row of logits for each token, example by example.
    assert result.logits.shape[0] == len(tokens)
    p_TV = result.logits.detach().softmax(dim=1)
    targets = [token for _, target in PAIRS for token in target]
    rows = [-float(p_TV[row, token].log()) for row, token in enumerate(targets)]
    assert rows == pytest.approx([nats for nats, _ in tokens], rel=1e-12)


def test_padding_has_no_influence(make_model: MakeModel) -> None:
    model = make_model().model.double()
    objective = Seq2SeqObjective(start_id=0, pad_id=0)
    alone = [objective.forward(model, batch_of([pair])) for pair in PAIRS]
    together = objective.forward(model, batch_of(PAIRS))
    assert together.nats_B.tolist() == pytest.approx([float(one.nats_B) for one in alone], rel=1e-12)


@pytest.mark.parametrize("tokens_at_once", [1, 12, 1_000])
def test_parts_give_the_gradients_of_the_whole_batch(make_model: MakeModel, tokens_at_once: int) -> None:
    model = make_model().model.double()
    objective = Seq2SeqObjective(0, 0, label_smoothing=0.1, tokens_at_once=tokens_at_once)
    batch = batch_of(PAIRS, num_fresh=2)
    torch.autograd.backward(objective.forward(model, batch).loss)
    names = [name for name, weight in model.named_parameters() if weight.grad is not None]
    whole = {
        name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None
    }
    model.zero_grad()

    seen: list[tuple[Batch, Seq2SeqResult]] = []
    groups = objective.split(batch, lambda part, result: seen.append((part, result)))
    if tokens_at_once == 1:
        assert len(groups) == len(PAIRS)
    assert sum(part.weight for group in groups for part in group) == pytest.approx(1.0)
    for group in groups:
        for part in group:
            result = objective.forward(model, part.batch)
            torch.autograd.backward(result.loss * part.weight)
            assert part.after_forward is not None
            part.after_forward(result)
    for name in names:
        gradient = dict(model.named_parameters())[name].grad
        assert gradient is not None
        torch.testing.assert_close(gradient, whole[name], rtol=1e-10, atol=1e-13)
    # Fresh examples lie first in their parts, and each example is in one part.
    assert sorted(example.id for part, _ in seen for example in part.examples) == ["0", "1", "2", "3"]
    assert sorted(example.id for part, _ in seen for example in part.fresh) == ["0", "1"]


def test_bfloat16_products_are_close_and_losses_are_float32(make_model: MakeModel) -> None:
    model = make_model().model
    exact = Seq2SeqObjective(0, 0).forward(model, batch_of(PAIRS))
    reduced = Seq2SeqObjective(0, 0, autocast_dtype=torch.bfloat16).forward(model, batch_of(PAIRS))
    assert reduced.logits.dtype == reduced.loss.dtype == torch.float32
    assert float(reduced.loss.detach()) == pytest.approx(float(exact.loss.detach()), rel=0.02)


def test_packed_pairs_come_back_and_other_arrays_are_refused() -> None:
    source, target = unpack_pair(pack_pair([4, 5, 1], [6, 1]))
    assert (source.tolist(), target.tolist()) == ([4, 5, 1], [6, 1])
    for wrong in ([1, 2, 3], [-1, 2], [2, -1], [2, -1, 3, -1, 4]):
        with pytest.raises(InputError, match="no pair"):
            unpack_pair(np.asarray(wrong, dtype=np.int32))
