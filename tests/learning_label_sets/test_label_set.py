"""A set of labels as one string: equal sets are equal strings, and every string is a target."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.label_set import is_set, label_list_problem, labels_in, set_problem, written_set

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda name: bool(name.strip()))


@given(st.lists(NAMES, max_size=6))
def test_it_is_read_as_it_was_written(names: list[str]) -> None:
    target = written_set(names)
    assert is_set(target)
    assert labels_in(target) == tuple(sorted(set(names)))
    assert written_set(reversed(names)) == target
    assert written_set(labels_in(target)) == target
    assert set_problem(target) is None


@given(st.text())
def test_any_other_text_is_its_only_label(text: str) -> None:
    if not is_set(text):
        assert labels_in(text) == (text,)
        assert set_problem(text) is None


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ('["a",null]', "label 2 of the list is null"),
        ('[["a"]]', "is a list itself"),
        ('["a"," "]', "is blank"),
    ],
)
def test_a_list_with_something_else_is_no_target(target: str, problem: str) -> None:
    assert problem in str(set_problem(target))
    assert labels_in(target) == (target,)


def test_a_list_is_looked_at_whole() -> None:
    assert label_list_problem(["a", "b"]) is None
    assert label_list_problem([]) is None
    assert "label 3" in str(label_list_problem(["a", "b", 1]))
