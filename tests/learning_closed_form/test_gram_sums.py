from __future__ import annotations

from itertools import pairwise

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from everlearn.learning.closed_form.gram_sums import PANEL_ROWS, GramSums

CPU = torch.device("cpu")


def lower_half(sums: GramSums) -> torch.Tensor:
    m = sums.num_features
    whole = torch.zeros(m, m, dtype=torch.int64)
    for k, panel in enumerate(sums.panels()):
        whole[k * PANEL_ROWS : k * PANEL_ROWS + len(panel), : panel.shape[1]] = panel
    return whole.tril()


def data(num: int, num_features: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randint(-127, 128, (num, num_features), generator=generator, dtype=torch.int8)
    return features, torch.randint(0, 4, (num,), generator=generator)


@settings(max_examples=20, deadline=None)
@given(
    num=st.integers(1, 60),
    num_features=st.sampled_from([64, 500, 513, 700]),
    gather=st.integers(1, 40),
    cuts=st.lists(st.integers(0, 60), max_size=5),
    looks=st.lists(st.sampled_from([0, 64, 512, 700]), min_size=6, max_size=6),
    seed=st.integers(0, 1000),
)
def test_any_batching_gives_the_batch_sums(
    num: int, num_features: int, gather: int, cuts: list[int], looks: list[int], seed: int
) -> None:
    features, classes = data(num, num_features, seed)
    sums = GramSums(num_features, gather, CPU)
    edges = sorted({0, num, *(c for c in cuts if c <= num)})
    for (start, stop), look in zip(pairwise(edges), looks, strict=False):
        sums.add(features[start:stop], classes[start:stop], 4)
        if look:  # a look at the leading panels leaves the others gathering
            leading = sums.panels(min(look, num_features))
            seen = features[:stop].to(torch.int64)
            assert torch.equal(leading[0], (seen.T @ seen)[: len(leading[0]), : leading[0].shape[1]])
    wide = features.to(torch.int64)
    assert torch.equal(lower_half(sums), (wide.T @ wide).tril())
    one_hot = torch.nn.functional.one_hot(classes, 4)
    assert torch.equal(sums.class_sums(), one_hot.T @ wide)
    assert torch.equal(sums.class_counts_C, one_hot.sum(0))


def test_subtracting_is_the_inverse_of_adding() -> None:
    features, classes = data(50, 600, 0)
    kept = GramSums(600, 16, CPU)
    kept.add(features[:30], classes[:30], 4)
    both = GramSums(600, 7, CPU)
    both.add(features, classes, 4)
    both.subtract(features[30:], classes[30:])
    assert torch.equal(lower_half(kept), lower_half(both))
    assert torch.equal(kept.class_sums(), both.class_sums())


def test_merging_adds_with_classes_renumbered() -> None:
    features, classes = data(50, 600, 1)
    whole = GramSums(600, 16, CPU)
    whole.add(features, classes, 4)
    first = GramSums(600, 16, CPU)
    first.add(features[:20], classes[:20], 4)
    second = GramSums(600, 16, CPU)
    renumbered = torch.tensor([2, 0, 3, 1])[classes[20:]]  # class k of the whole is renumbered[k] there
    second.add(features[20:], renumbered, 4)
    first.merge(second, [1, 3, 0, 2], 4)
    assert torch.equal(lower_half(first), lower_half(whole))
    assert torch.equal(first.class_sums(), whole.class_sums())
    assert torch.equal(first.class_counts_C, whole.class_counts_C)


def test_saved_sums_come_back_narrow_or_wide() -> None:
    features, classes = data(40, 64, 2)
    sums = GramSums(64, 16, CPU)
    sums.add(features, classes, 4)
    assert sums.tensors()["gram.000"].dtype is torch.int32
    sums.panels()[0].mul_(2**20)
    saved = sums.tensors()
    assert saved["gram.000"].dtype is torch.int64
    other = GramSums(64, 16, CPU)
    other.load(saved)
    assert torch.equal(lower_half(other), lower_half(sums))
