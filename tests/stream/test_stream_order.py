"""Orders: nothing lost, nothing doubled, the same for the same seed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.errors import ConfigError, InputError
from everlearn.stream import Experience, Order, arrange
from everlearn.types import Example

ORDERS: tuple[Order, ...] = ("as-is", "shuffled", "by-class", "by-domain", "by-time")


def make(count: int) -> list[Example]:
    return [
        Example(
            id=str(index),
            text="t",
            target=f"label {index * 7 % 5}",
            domain=f"domain {index % 3}",
            time=f"2024-01-{31 - index % 30:02d}",
        )
        for index in range(count)
    ]


def ids(experiences: list[Experience]) -> list[list[str]]:
    return [[example.id for example in experience.examples] for experience in experiences]


@given(order=st.sampled_from(ORDERS), count=st.integers(5, 60), parts=st.integers(1, 5), seed=st.integers())
def test_every_order_is_a_partition(order: Order, count: int, parts: int, seed: int) -> None:
    examples = make(count)
    arranged = arrange(examples, order, parts, seed)
    flat = [each for part in ids(arranged) for each in part]
    assert sorted(flat) == sorted(example.id for example in examples)
    assert ids(arrange(iter(examples), order, parts, seed)) == ids(arranged)
    assert len({experience.name for experience in arranged}) == len(arranged)
    if order == "by-domain":
        assert len(arranged) == 3
        assert all({e.domain for e in part.examples} == {part.name} for part in arranged)
    else:
        assert len(arranged) == parts
    if order in ("as-is", "shuffled", "by-time"):
        sizes = [len(part.examples) for part in arranged]
        assert max(sizes) - min(sizes) <= 1
    if order == "as-is":
        assert flat == [example.id for example in examples]
    if order == "by-time":
        assert [e.time or "" for p in arranged for e in p.examples] == sorted(e.time or "" for e in examples)
    if order == "by-class":
        labels = [{example.target for example in part.examples} for part in arranged]
        assert sum(map(len, labels)) == len(set().union(*labels)) == 5
        assert max(map(len, labels)) - min(map(len, labels)) <= 1


def test_classes_do_not_depend_on_the_order_of_the_examples() -> None:
    examples = make(40)
    forward = arrange(examples, "by-class", 2, seed=3)
    backward = arrange(examples[::-1], "by-class", 2, seed=3)
    assert [{e.target for e in p.examples} for p in forward] == [
        {e.target for e in p.examples} for p in backward
    ]


@pytest.mark.parametrize("order", ["shuffled", "by-class", "by-domain"])
def test_seeds_matter(order: Order) -> None:
    assert ids(arrange(make(40), order, 2, 0)) != ids(arrange(make(40), order, 2, 1))


def test_times_of_several_kinds() -> None:
    times = [
        "2024-03-01T00:00:00+02:00",
        "2024-02-29T23:00:00Z",
        "2024",
        "2023-07",
        "1700000000",
        "2024-02-29",
    ]
    examples = [Example(id=time, text="t", time=time) for time in times]
    (only,) = arrange(examples, "by-time", 1, 0)
    assert [e.id for e in only.examples] == [
        "2023-07",
        "1700000000",
        "2024",
        "2024-02-29",
        "2024-03-01T00:00:00+02:00",
        "2024-02-29T23:00:00Z",
    ]


@pytest.mark.parametrize(
    ("order", "what"), [("by-class", "target"), ("by-domain", "domain"), ("by-time", "time")]
)
def test_examples_that_lack_what_the_order_goes_by(order: Order, what: str) -> None:
    with pytest.raises(InputError, match=f"'bare' has no {what}.*--{what}-field"):
        arrange([*make(5), Example(id="bare", text="t")], order, 1, 0)


def test_wrong_settings() -> None:
    with pytest.raises(ConfigError, match="only 5 labels"):
        arrange(make(20), "by-class", 6, 0)
    with pytest.raises(ConfigError, match="only 4 examples"):
        arrange(make(4), "as-is", 5, 0)
    with pytest.raises(ConfigError, match="must be at least 1, not 0"):
        arrange(make(4), "as-is", 0, 0)
    with pytest.raises(ConfigError, match="order must be one of as-is"):
        arrange(make(4), "sorted", 1, 0)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="neither ISO 8601 nor a number"):
        arrange([Example(id="a", text="t", time="last week")], "by-time", 1, 0)
    assert arrange([], "by-class", 3, 0) == []
