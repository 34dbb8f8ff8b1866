"""The peers' streams are everlearn's streams."""

from __future__ import annotations

import pytest
from benchmarks.datasets import Row
from benchmarks.peers import protocol
from hypothesis import given
from hypothesis import strategies as st

from everlearn.stream.order import arrange
from everlearn.types import Example


@given(
    labels=st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=40),
    num_experiences=st.integers(1, 8),
    seed=st.integers(0, 3),
)
def test_by_class_order_equals_everlearns(labels: list[str], num_experiences: int, seed: int) -> None:
    num_experiences = min(num_experiences, len(set(labels)))
    rows = [Row(str(number), f"text {number}", label) for number, label in enumerate(labels)]
    examples = [Example(id=row.id, text=row.text, target=row.label) for row in rows]
    ours = arrange(examples, "by-class", num_experiences, seed)
    theirs = protocol.arrange(rows, "by-class", num_experiences, seed)
    assert [[example.id for example in experience.examples] for experience in ours] == [
        [row.id for row in experience] for experience in theirs
    ]


@pytest.mark.parametrize("seed", [0, 1])
def test_shuffled_order_equals_everlearns(seed: int) -> None:
    rows = [Row(str(number), "text", "label") for number in range(50)]
    examples = [Example(id=row.id, text=row.text, target=row.label) for row in rows]
    ours = [
        example.id
        for experience in arrange(examples, "shuffled", 10, seed)
        for example in experience.examples
    ]
    assert ours == [row.id for rows in protocol.arrange(rows, "shuffled", 10, seed) for row in rows]


def test_more_experiences_than_labels_gives_one_a_label() -> None:
    rows = [Row(str(number), "text", label) for number, label in enumerate("abcabc")]
    assert len(protocol.arrange(rows, "by-class", 10, 0)) == 3
