from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from everlearn.memory.hash_sample import HashSample, Sampled
from everlearn.types import Code

CODE = Code(np.zeros(1, np.int8), np.zeros(0, np.uint32), np.zeros(0, np.uint8))


def filled(ids: list[int], size: int = 8, batch: int = 3) -> HashSample:
    sample = HashSample(size)
    for start in range(0, len(ids), batch):
        part = [str(i) for i in ids[start : start + batch]]
        sample.add(part, ["x"] * len(part), [CODE] * len(part))
    return sample


def used(sample: HashSample) -> list[str]:
    return [member.id for member in sample]


@settings(max_examples=60, deadline=None)
@given(st.permutations(list(range(60))), st.integers(1, 60), st.integers(1, 20))
def test_a_function_of_the_set(order: list[int], batch: int, cut: int) -> None:
    smallest = sorted(range(60), key=lambda i: Sampled.of(str(i), "x", CODE).hash)[:8]
    expected = [str(i) for i in smallest]
    assert used(filled(order, batch=batch)) == expected
    merged = filled(order[:cut])
    merged.merge(filled(order[cut:]))
    assert used(merged) == expected


@settings(max_examples=60, deadline=None)
@given(st.permutations(list(range(80))), st.integers(0, 80))
def test_removal_is_exact_or_says_that_it_is_not(order: list[int], num_removed: int) -> None:
    sample = filled(list(range(80)))
    gone, left = order[:num_removed], order[num_removed:]
    sample.remove([str(i) for i in gone], ["x"] * len(gone), [CODE] * len(gone))
    if sample.is_complete:
        assert used(sample) == used(filled(left))
    else:
        assert len(left) < 80 - 8  # more than the reserve went
        sample.rebuild(Sampled.of(str(i), "x", CODE) for i in left)
        assert used(sample) == used(filled(left))


def test_memory_is_bounded_and_other_labels_are_not_removed() -> None:
    sample = filled(list(range(10_000)))
    assert len(sample.members()) <= 16
    before = used(sample)
    sample.remove(before, ["other"] * len(before), [CODE] * len(before))
    assert used(sample) == before


@settings(deadline=None)
@given(order=st.permutations(range(8)), cut=st.integers(0, 8))
def test_the_same_id_and_label_with_other_codes_are_a_set_too(order: list[int], cut: int) -> None:
    def sample(numbers: list[int]) -> HashSample:
        made = HashSample(8)
        codes = [
            Code(np.array([n // 2], np.int8), np.array([n % 2], np.uint32), np.array([1], np.uint8))
            for n in numbers
        ]
        made.add(["twice"] * len(codes), ["a"] * len(codes), codes)
        return made

    merged = sample(order[:cut])
    merged.merge(sample(order[cut:]))
    for other in (sample(order), merged):
        assert [m.code for m in other] == [m.code for m in sample(list(range(8)))]
