"""Segments of documents as memories keep them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from everlearn.learning.language.segments import decode_segment, encode_segment
from everlearn.memory import ReservoirMemory

_TOKENS = st.lists(st.tuples(st.integers(0, 200_000), st.booleans()), min_size=1, max_size=20)


@given(first=st.integers(0, 200_000), tokens=_TOKENS)
def test_decoding_inverts_encoding(first: int, tokens: list[tuple[int, bool]]) -> None:
    ids, flags = [one for one, _ in tokens], [flag for _, flag in tokens]
    segment = encode_segment("e", 7, first, ids, flags, "news")
    assert segment.example_id == "e"
    assert segment.domain == "news"
    read, labels = decode_segment(segment.input.astype(np.int32))
    assert read.tolist() == [first, *ids[:-1]]
    assert labels.tolist() == [one if flag else -100 for one, flag in tokens]


def test_a_memory_forgets_all_segments_of_an_example() -> None:
    memory = ReservoirMemory(max_examples=10)
    memory.add([encode_segment(name, at, 1, [2, 3], [True, True], None) for name in "ab" for at in (0, 8)])
    assert len(memory) == 4
    assert memory.remove({"a"}) == 2
    assert {one.example_id for one in memory.examples()} == {"b"}
    assert all(one.input.dtype == np.int32 for one in memory.examples())
