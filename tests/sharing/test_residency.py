"""What is kept: the budget holds, what is used stays, and what is dear to bring back outlives the rest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.errors import ConfigError
from everlearn.sharing.residency import Residency


@given(
    acts=st.lists(
        st.tuples(
            st.sampled_from(["put", "get", "drop"]),
            st.sampled_from("abcdef"),
            st.integers(0, 60),
            st.floats(0.01, 10),
        ),
        max_size=40,
    ),
    budget=st.sampled_from([None, 1, 50, 100]),
)
def test_the_budget_holds(acts: list[tuple[str, str, int, float]], budget: int | None) -> None:
    kept = Residency[str](budget)
    sizes: dict[str, int] = {}
    for act, name, size, cost in acts:
        if act == "put":
            gone = kept.put(name, name, size, cost)
            sizes[name] = max(1, size)
            assert (name in gone) == (budget is not None and sizes[name] > budget)
            for one in gone:
                del sizes[one]
            assert budget is not None or not gone
        elif act == "get":
            assert kept.get(name) == (name if name in sizes else None)
        else:
            assert kept.drop(name) == (name if name in sizes else None)
            sizes.pop(name, None)
        assert kept.names() == sorted(sizes)
        assert kept.num_bytes == sum(sizes.values())
        assert budget is None or kept.num_bytes <= budget


def test_what_is_used_stays() -> None:
    kept = Residency[int](30)
    for k, name in enumerate("abc"):
        kept.put(name, k, 10, 1)
    for _ in range(3):
        kept.get("a")
    assert kept.put("d", 3, 10, 1) == [1]
    assert "a" in kept


def test_what_is_not_used_any_more_goes_in_the_end() -> None:
    kept = Residency[str](30)
    kept.put("old", "old", 10, 1)
    for _ in range(50):
        kept.get("old")
    gone = [one for k in range(300) for one in kept.put(f"n{k % 40}", f"n{k}", 10, 1)]
    assert "old" in gone


def test_cost_and_size_count() -> None:
    kept = Residency[str](100)
    kept.put("dear", "dear", 40, 10)
    kept.put("cheap", "cheap", 40, 1)
    assert kept.put("new", "new", 40, 1) == ["cheap"]
    kept = Residency[str](100)
    kept.put("large", "large", 60, 1)
    kept.put("small", "small", 20, 1)
    assert kept.put("new", "new", 40, 1) == ["large"]


def test_what_was_popular_is_so_again() -> None:
    kept = Residency[str](20)
    kept.put("popular", "popular", 10, 1)
    for _ in range(9):
        kept.get("popular")
    kept.drop("popular")
    kept.put("other", "other", 10, 1)
    kept.put("popular", "popular", 10, 1)
    assert kept.put("third", "third", 10, 1) == ["other"]


@pytest.mark.parametrize("budget", [0, -1])
def test_a_budget_of_nothing(budget: int) -> None:
    with pytest.raises(ConfigError, match="holds nothing"):
        Residency[int](budget)
